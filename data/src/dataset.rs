//! Opening a data set: where it is looked for, which files make it up, and whether they fit each other.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::catalog::{self, Published};
use crate::class_folders::{self, ClassFolders};
use crate::idx::{self, Kind};
use crate::images::Bytes;
use crate::synthetic::{self, Part};
use crate::unpacked::{self, Unpacked};
use crate::{DataError, Images, Locations, Reference, Shape, digest};

/// An opened data set. It never changes; share it by `Arc`.
#[derive(Debug)]
pub struct Dataset {
    name: String,
    origin: Origin,
    files: Vec<SourceFile>,
    train: Images,
    test: Option<Images>,
    classes: Option<Vec<String>>,
    digest: String,
}

/// Where a data set was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Below the folder that `FOLDWISE_DATA` names.
    DataFolder(PathBuf),
    /// In the download cache.
    Cache(PathBuf),
    /// At a path of the user's.
    Path(PathBuf),
    /// Drawn by the program.
    Drawn,
}

/// A file a data set was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Its size as it lies there, gzipped or not.
    pub bytes: u64,
}

impl Dataset {
    /// Opens the data set that `reference` names (see [`Reference::parse`]; a relative path is taken from the working
    /// directory). Never downloads: a published data set that is in neither of the locations is
    /// [`DataError::NotFound`]. The first opening unpacks into the cache, later ones map what is there.
    pub fn open(reference: &str, locations: &Locations) -> Result<Dataset, DataError> {
        match Reference::parse(reference)? {
            Reference::Mnist => open_published(&catalog::MNIST, locations),
            Reference::FashionMnist => open_published(&catalog::FASHION_MNIST, locations),
            Reference::SyntheticDigits => open_synthetic(locations),
            Reference::Path(path) => open_path(reference, path, locations),
        }
    }

    /// The data set as the study file names it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it was found.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The files it was read from, training images first; none for drawn data.
    pub fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// The training images.
    pub fn train(&self) -> &Images {
        &self.train
    }

    /// The test images, of the same size as the training images, where the data set has some.
    pub fn test(&self) -> Option<&Images> {
        self.test.as_ref()
    }

    /// The names of the classes, in the order of the labels from 0; none where only the labels are known (IDX files of the
    /// user's). A label past the end has no name.
    pub fn classes(&self) -> Option<&[String]> {
        self.classes.as_deref()
    }

    /// SHA-256, in hexadecimal, over count, height, width and channels of the training images (each as a
    /// little-endian u64) and all their bytes. Labels and test images don't count.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

/// Finds a published data set, or says what the two looks gave.
pub(crate) fn locate(set: &Published, locations: &Locations) -> Result<Origin, Searched> {
    let data = match locations.data_folder(set) {
        None => "not set".to_owned(),
        Some(folder) if find_file(&folder, "train-images", Kind::Images).is_some() => {
            return Ok(Origin::DataFolder(folder));
        }
        Some(folder) => format!("no training images in {}", folder.display()),
    };
    let cache = match locations.download_folder(set) {
        None => "no folder for it".to_owned(),
        Some(folder) => match set.files.iter().find(|file| !folder.join(file.name).is_file()) {
            None => return Ok(Origin::Cache(folder)),
            Some(missing) => format!("no {}", folder.join(missing.name).display()),
        },
    };
    Err(Searched { data, cache })
}

/// What a search in vain has to tell.
#[derive(Debug)]
pub(crate) struct Searched {
    pub data: String,
    pub cache: String,
}

fn open_published(set: &Published, locations: &Locations) -> Result<Dataset, DataError> {
    let origin = locate(set, locations).map_err(|Searched { data, cache }| DataError::NotFound {
        name: set.name,
        data,
        cache,
    })?;
    let dataset = open_folder(set.name, origin, locations)?;
    Ok(Dataset { classes: Some(names(&set.classes)), ..dataset })
}

fn names(classes: &[&str]) -> Vec<String> {
    classes.iter().copied().map(str::to_owned).collect()
}

fn open_synthetic(locations: &Locations) -> Result<Dataset, DataError> {
    let folder = locations.unpacked_folder();
    let open = |part: Part| {
        let key = format!("synthetic-digits-{}", part.digest());
        let unpacked = unpacked::open_or_make(folder.as_deref(), &key, || {
            Ok((part.shape(), synthetic::draw_synthetic_digits(synthetic::SEED, part, part.shape().count)))
        })?;
        Ok((Images::new(unpacked.shape, unpacked.bytes, Some(part.labels())), digest::hex(&unpacked.digest)))
    };
    let (train, digest) = open(Part::Train)?;
    let (test, _) = open(Part::Test)?;
    Ok(Dataset {
        name: Reference::SyntheticDigits.to_string(),
        origin: Origin::Drawn,
        files: Vec::new(),
        train,
        test: Some(test),
        classes: Some(names(&catalog::DIGITS)),
        digest,
    })
}

fn open_path(name: &str, path: PathBuf, locations: &Locations) -> Result<Dataset, DataError> {
    let metadata = match fs::metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(DataError::NoSuchPath { path });
        }
        Err(error) => return Err(DataError::io("look at", &path)(error)),
    };
    if metadata.is_dir() {
        return open_folder(name, Origin::Path(path), locations);
    }
    let mut files = Vec::new();
    let (train, digest) = load(&path, None, locations, &mut files)?;
    let digest = digest::hex(&digest.unwrap_or_else(|| train.digest()));
    Ok(Dataset {
        name: name.to_owned(),
        origin: Origin::Path(path),
        files,
        train,
        test: None,
        classes: None,
        digest,
    })
}

fn open_folder(name: &str, origin: Origin, locations: &Locations) -> Result<Dataset, DataError> {
    let (Origin::DataFolder(folder) | Origin::Cache(folder) | Origin::Path(folder)) = &origin else {
        return open_synthetic(locations);
    };
    let Some(train_path) = find_file(folder, "train-images", Kind::Images) else {
        let Some(folders) = class_folders::find(folder)? else {
            return Err(DataError::NoTrainingImages { folder: folder.clone() });
        };
        return open_classes(name, origin, folders, locations);
    };
    let mut files = Vec::new();
    let train_labels = find_file(folder, "train-labels", Kind::Labels);
    let (train, digest) = load(&train_path, train_labels, locations, &mut files)?;
    let digest = digest::hex(&digest.unwrap_or_else(|| train.digest()));

    let test = match find_file(folder, "t10k-images", Kind::Images) {
        None => None,
        Some(path) => {
            let test_labels = find_file(folder, "t10k-labels", Kind::Labels);
            let (test, _) = load(&path, test_labels, locations, &mut files)?;
            if (test.height(), test.width()) != (train.height(), train.width()) {
                return Err(DataError::Malformed {
                    path,
                    found: format!("images of {}x{}", test.height(), test.width()),
                    expected: format!("{}x{} as in {}", train.height(), train.width(), train_path.display()),
                });
            }
            Some(test)
        }
    };
    Ok(Dataset { name: name.to_owned(), origin, files, train, test, classes: None, digest })
}

fn open_classes(
    name: &str,
    origin: Origin,
    folders: ClassFolders,
    locations: &Locations,
) -> Result<Dataset, DataError> {
    let cache = locations.unpacked_folder();
    let (train, digest) = folders.train.open(cache.as_deref())?;
    let mut files = folders.train.source_files();
    let test = match &folders.test {
        None => None,
        Some(part) => {
            let (test, _) = part.open(cache.as_deref())?;
            part.check_size_beside(&test, &folders.train, &train)?;
            files.extend(part.source_files());
            Some(test)
        }
    };
    Ok(Dataset {
        name: name.to_owned(),
        origin,
        files,
        train,
        test,
        classes: Some(folders.classes),
        digest: digest::hex(&digest),
    })
}

/// The file of a part under its usual names; a plain one before a gzipped one, since it needs no unpacking.
fn find_file(folder: &Path, part: &str, kind: Kind) -> Option<PathBuf> {
    let suffix = match kind {
        Kind::Images => "idx3-ubyte",
        Kind::Labels => "idx1-ubyte",
    };
    ["", ".gz"]
        .into_iter()
        .flat_map(|zipped| ["-", "."].map(|joint| folder.join(format!("{part}{joint}{suffix}{zipped}"))))
        .find(|path| path.is_file())
}

/// Reads images and their labels. The digest comes along where it was stored.
fn load(
    path: &Path,
    labels_path: Option<PathBuf>,
    locations: &Locations,
    files: &mut Vec<SourceFile>,
) -> Result<(Images, Option<[u8; 32]>), DataError> {
    let (shape, bytes, digest) = load_images(path, locations)?;
    files.push(source_file(path)?);
    let Some(labels_path) = labels_path else { return Ok((Images::new(shape, bytes, None), digest)) };

    let (header, labels) = idx::decode(&labels_path, &read_whole(&labels_path)?, Kind::Labels)?;
    if header.shape.count != shape.count {
        return Err(DataError::Malformed {
            path: labels_path,
            found: format!("{} labels", header.shape.count),
            expected: format!("{}, one for each image of {}", shape.count, path.display()),
        });
    }
    files.push(source_file(&labels_path)?);
    Ok((Images::new(shape, bytes, Some(labels)), digest))
}

/// A plain file is mapped where it lies; a gzipped one is unpacked into the cache and mapped there.
fn load_images(path: &Path, locations: &Locations) -> Result<(Shape, Bytes, Option<[u8; 32]>), DataError> {
    let mut file = open_regular(path)?;
    let header_bytes = Kind::Images.header_bytes() as u64;
    let mut start = Vec::new();
    file.by_ref().take(header_bytes).read_to_end(&mut start).map_err(DataError::io("read", path))?;
    if !idx::is_gzip(&start) {
        let header = idx::parse_header(path, &start, Kind::Images)?;
        let length = file.metadata().map_err(DataError::io("look at", path))?.len();
        idx::check_length(path, header, Kind::Images, length.saturating_sub(header_bytes))?;
        let bytes =
            Bytes::map(&file, header_bytes, header.payload_bytes).map_err(DataError::io("map", path))?;
        return Ok((header.shape, bytes, None));
    }

    let source_digest = digest::of_file(path).map_err(DataError::io("read", path))?;
    let folder = locations.unpacked_folder();
    let Unpacked { shape, bytes, digest } =
        unpacked::open_or_make(folder.as_deref(), &digest::hex(&source_digest), || {
            let packed = read_whole(path)?;
            if digest::of_bytes(&packed) != source_digest {
                return Err(DataError::Malformed {
                    path: path.to_owned(),
                    found: "a file that changed while it was read".to_owned(),
                    expected: "one that stays as it is".to_owned(),
                });
            }
            let (header, payload) = idx::decode(path, &packed, Kind::Images)?;
            Ok((header.shape, payload))
        })?;
    Ok((shape, bytes, Some(digest)))
}

fn read_whole(path: &Path) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    let limit = idx::MAX_BYTES + 1024;
    open_regular(path)?.take(limit).read_to_end(&mut bytes).map_err(DataError::io("read", path))?;
    Ok(bytes)
}

/// Opens a file; a pipe or a device would wait or never end.
fn open_regular(path: &Path) -> Result<File, DataError> {
    let is_file = fs::metadata(path).map_err(DataError::io("look at", path))?.is_file();
    if !is_file {
        return Err(DataError::Malformed {
            path: path.to_owned(),
            found: "neither a file nor a folder".to_owned(),
            expected: "an IDX file".to_owned(),
        });
    }
    File::open(path).map_err(DataError::io("open", path))
}

fn source_file(path: &Path) -> Result<SourceFile, DataError> {
    let bytes = fs::metadata(path).map_err(DataError::io("look at", path))?.len();
    Ok(SourceFile { path: path.to_owned(), bytes })
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::idx::tests::{gzip, images_file, labels_file};

    const TRAIN: [u8; 12] = [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 255];

    /// A folder of three training and one test image, and an empty cache.
    fn house(zipped: bool) -> (TempDir, Locations, String) {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("digits");
        fs::create_dir(&folder).expect("a folder");
        for (name, content) in [
            ("train-images-idx3-ubyte", images_file(3, 2, 2, &TRAIN)),
            ("train-labels-idx1-ubyte", labels_file(&[7, 1, 7])),
            ("t10k-images-idx3-ubyte", images_file(1, 2, 2, &[1, 2, 3, 4])),
            ("t10k-labels-idx1-ubyte", labels_file(&[9])),
        ] {
            match zipped {
                true => fs::write(folder.join(format!("{name}.gz")), gzip(&content)),
                false => fs::write(folder.join(name), content),
            }
            .expect("written");
        }
        let locations = Locations::new(None, Some(root.path().join("cache")));
        let reference = folder.display().to_string();
        (root, locations, reference)
    }

    #[test]
    fn a_dataset_can_be_shared_between_threads() {
        fn check<T: Send + Sync>() {}
        check::<Dataset>();
    }

    #[test]
    fn plain_and_zipped_folders_are_the_same_data() {
        for zipped in [false, true] {
            let (_root, locations, reference) = house(zipped);
            for _ in 0..2 {
                let dataset = Dataset::open(&reference, &locations).expect("a good folder");
                assert_eq!(dataset.name(), reference);
                let train = dataset.train();
                assert_eq!((train.len(), train.height(), train.width(), train.channels()), (3, 2, 2, 1));
                assert_eq!(train.bytes(), TRAIN);
                assert_eq!(train.image(1), Some(&TRAIN[4..8]));
                assert_eq!(train.image(3), None);
                assert!(train.is_mapped());
                assert_eq!(train.class_counts(), Some(vec![(1, 1), (7, 2)]));
                let test = dataset.test().expect("test images");
                assert_eq!((test.bytes(), test.labels()), (&[1, 2, 3, 4][..], Some(&[9][..])));
                let expected = digest::of_images(train.shape(), &TRAIN);
                assert_eq!(dataset.digest(), digest::hex(&expected));
                assert_eq!(dataset.files().len(), 4);
            }
        }
    }

    #[test]
    fn a_changed_file_is_never_served_from_the_cache() {
        let (_root, locations, reference) = house(true);
        let path = Path::new(&reference).join("train-images-idx3-ubyte.gz");
        let first = Dataset::open(&reference, &locations).expect("a good folder");
        // The same length and the same time: only the content tells.
        let time = fs::metadata(&path).and_then(|metadata| metadata.modified()).expect("a time");
        fs::write(&path, gzip(&images_file(3, 2, 2, &[5; 12]))).expect("written");
        File::options().write(true).open(&path).and_then(|file| file.set_modified(time)).expect("set");
        let second = Dataset::open(&reference, &locations).expect("a good folder");
        assert_eq!(second.train().bytes(), [5; 12]);
        assert_ne!(first.digest(), second.digest());
        assert_eq!(first.train().bytes(), TRAIN, "a map that is open stays as it was");
    }

    #[test]
    fn one_file_is_a_data_set_without_labels_and_test_images() {
        let (_root, locations, reference) = house(true);
        let file = format!("{reference}/t10k-images-idx3-ubyte.gz");
        let dataset = Dataset::open(&file, &locations).expect("a good file");
        assert_eq!(dataset.train().bytes(), [1, 2, 3, 4]);
        assert!(dataset.train().labels().is_none() && dataset.test().is_none());
    }

    #[test]
    fn files_that_do_not_fit_each_other_are_refused() {
        let (_root, locations, reference) = house(false);
        let folder = Path::new(&reference);
        let open = || Dataset::open(&reference, &locations).expect_err("a bad folder");

        fs::write(folder.join("t10k-images-idx3-ubyte"), images_file(1, 1, 4, &[0; 4])).expect("written");
        assert!(open().to_string().contains("found images of 1x4, expected 2x2 as in"));
        fs::write(folder.join("train-labels-idx1-ubyte"), labels_file(&[1, 2])).expect("written");
        assert!(open().to_string().contains("found 2 labels, expected 3, one for each image of"));
        fs::write(folder.join("train-images-idx3-ubyte"), images_file(3, 2, 2, &TRAIN[..11]))
            .expect("written");
        assert!(open().to_string().contains("cut off 1 bytes early"));
        assert!(open().is_user_error());
        fs::remove_file(folder.join("train-images-idx3-ubyte")).expect("removed");
        assert!(open().to_string().starts_with("no training images in"));
    }

    #[test]
    fn a_path_that_leads_nowhere_is_the_users_fault() {
        let error = Dataset::open("./no/such/folder", &Locations::default()).expect_err("nothing there");
        assert_eq!(error.to_string(), "no data set at ./no/such/folder: there is no such file or folder");
        assert!(error.is_user_error());
    }

    #[test]
    fn a_pipe_or_device_is_no_data_set() {
        let error = Dataset::open("/dev/null", &Locations::default()).expect_err("a device");
        assert!(error.to_string().contains("neither a file nor a folder"), "{error}");
    }

    #[test]
    fn mnist_that_was_never_fetched_names_the_places() {
        let root = tempfile::tempdir().expect("a folder");
        let locations = Locations::new(Some(root.path().join("d")), Some(root.path().join("c")));
        let error = Dataset::open("mnist", &locations).expect_err("nothing there");
        assert!(!error.is_user_error());
        let message = error.to_string();
        let data = root.path().join("d/mnist").display().to_string();
        let cache = root.path().join("c/data/mnist").display().to_string();
        for part in ["FOLDWISE_DATA", &data, &cache, "foldwise data fetch mnist", "mirrors"] {
            assert!(message.contains(part), "{message:?} lacks {part:?}");
        }
    }

    #[test]
    fn the_data_folder_comes_before_the_cache() {
        let (root, _, _) = house(true);
        fs::rename(root.path().join("digits"), root.path().join("mnist")).expect("renamed");
        let locations = Locations::new(Some(root.path().to_owned()), Some(root.path().join("cache")));
        let dataset = Dataset::open("mnist", &locations).expect("a good folder");
        assert_eq!(dataset.origin(), &Origin::DataFolder(root.path().join("mnist")));
        assert_eq!(dataset.train().bytes(), TRAIN);
    }

    #[test]
    fn synthetic_digits_need_no_file() {
        let root = tempfile::tempdir().expect("a folder");
        let locations = Locations::new(None, Some(root.path().to_owned()));
        for _ in 0..2 {
            let dataset = Dataset::open("synthetic-digits", &locations).expect("drawn");
            assert_eq!((dataset.train().len(), dataset.test().expect("drawn").len()), (12_000, 2_000));
            assert_eq!(dataset.digest(), Part::Train.digest());
            assert!(dataset.train().is_mapped());
            let expected: Vec<_> = (0..10).map(|class| (class, 1_200)).collect();
            assert_eq!(dataset.train().class_counts(), Some(expected));
        }
    }

    /// Passes without looking where `FOLDWISE_DATA` is not set.
    #[test]
    fn the_real_sets_have_their_published_sizes() {
        let Some(data) = Locations::from_env().data().cloned() else { return };
        let root = tempfile::tempdir().expect("a folder");
        let locations = Locations::new(Some(data), Some(root.path().to_owned()));
        for (name, set) in [("mnist", &catalog::MNIST), ("fashion-mnist", &catalog::FASHION_MNIST)] {
            if locate(set, &locations).is_err() {
                continue;
            }
            let dataset = Dataset::open(name, &locations).expect("a good set");
            let train = dataset.train();
            assert_eq!((train.len(), train.height(), train.width()), (60_000, 28, 28));
            assert_eq!(train.bytes().len(), 60_000 * 28 * 28);
            assert_eq!(train.class_counts().map(|classes| classes.len()), Some(10));
            assert_eq!(dataset.test().map(Images::len), Some(10_000));
            let again = Dataset::open(name, &locations).expect("a good set");
            assert_eq!(again.digest(), digest::hex(&train.digest()));
            assert!(again.train().is_mapped());
        }
    }
}
