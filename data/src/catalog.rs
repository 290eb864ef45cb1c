//! The published data sets: their files, what is in them, and who serves them.

/// A data set that can be downloaded.
#[derive(Debug)]
pub(crate) struct Published {
    pub name: &'static str,
    /// Addresses that end in a slash; a file's name is appended.
    pub mirrors: &'static [&'static str],
    pub files: [PublishedFile; 4],
    /// What the labels mean, from 0.
    pub classes: [&'static str; 10],
}

/// One gzipped file. Its digest is that of the unzipped content, so that a copy that somebody zipped again passes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PublishedFile {
    pub name: &'static str,
    pub content_bytes: u64,
    pub content_sha256: &'static str,
}

/// The classes of digits.
pub(crate) const DIGITS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

/// MNIST (LeCun, Cortes, Burges).
pub(crate) static MNIST: Published = Published {
    name: "mnist",
    mirrors: &[
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ],
    files: files([
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ]),
    classes: DIGITS,
};

/// FashionMNIST (Zalando Research, MIT license).
pub(crate) static FASHION_MNIST: Published = Published {
    name: "fashion-mnist",
    mirrors: &[
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    ],
    files: files([
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ]),
    // as <https://github.com/zalandoresearch/fashion-mnist#labels> names them
    classes: [
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ],
};

/// Both sets have the same names and sizes.
const fn files(digests: [&'static str; 4]) -> [PublishedFile; 4] {
    [
        PublishedFile {
            name: "train-images-idx3-ubyte.gz",
            content_bytes: 16 + 60_000 * 28 * 28,
            content_sha256: digests[0],
        },
        PublishedFile {
            name: "train-labels-idx1-ubyte.gz",
            content_bytes: 8 + 60_000,
            content_sha256: digests[1],
        },
        PublishedFile {
            name: "t10k-images-idx3-ubyte.gz",
            content_bytes: 16 + 10_000 * 28 * 28,
            content_sha256: digests[2],
        },
        PublishedFile {
            name: "t10k-labels-idx1-ubyte.gz",
            content_bytes: 8 + 10_000,
            content_sha256: digests[3],
        },
    ]
}
