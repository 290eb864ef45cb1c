use std::fs;
use std::path::Path;

use image::{GrayImage, ImageEncoder, Rgb, RgbImage, RgbaImage};
use tempfile::TempDir;

use crate::idx::tests::images_file;
use crate::{DataError, Dataset, Locations};

/// A folder for data beside an empty cache.
struct House {
    root: TempDir,
}

impl House {
    fn new() -> House {
        House { root: tempfile::tempdir().expect("a folder") }
    }

    /// Writes a gray image of two columns.
    fn gray(&self, path: &str, pixels: &[u8]) {
        let rows = u32::try_from(pixels.len() / 2).expect("few");
        let image = GrayImage::from_raw(2, rows, pixels.to_vec()).expect("it fits");
        image.save(self.path(path)).expect("written");
    }

    fn write(&self, path: &str, content: &[u8]) {
        fs::write(self.path(path), content).expect("written");
    }

    /// The path of a file, whose folders are made.
    fn path(&self, path: &str) -> std::path::PathBuf {
        let path = self.root.path().join("data").join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        path
    }

    fn open(&self) -> Result<Dataset, DataError> {
        let locations = Locations::new(None, Some(self.root.path().join("cache")));
        Dataset::open(&self.path("").display().to_string(), &locations)
    }

    fn unpacked(&self) -> usize {
        fs::read_dir(self.root.path().join("cache/data/unpacked")).map_or(0, |files| files.count())
    }

    /// What opening says, without the folder.
    fn error(&self) -> String {
        let error = self.open().expect_err("a bad folder");
        assert!(error.is_user_error(), "{error}");
        error.to_string().replace(&self.path("").display().to_string(), "")
    }
}

#[test]
fn classes_and_images_come_in_the_order_of_their_names() {
    let house = House::new();
    house.gray("oak/b.png", &[5, 6]);
    house.gray("oak/a.png", &[3, 4]);
    house.gray("oak/10.png", &[9, 10]);
    house.gray("birch/z.png", &[1, 2]);
    house.gray("Yew/1.png", &[7, 8]);
    house.write("oak/.DS_Store", b"no image");
    house.write(".git/config", b"no class");
    house.write("README", b"no class");
    for _ in 0..2 {
        let data = house.open().expect("a good folder");
        assert_eq!(data.classes().expect("names"), ["Yew", "birch", "oak"]);
        assert_eq!(data.train().bytes(), [7, 8, 1, 2, 9, 10, 3, 4, 5, 6]);
        assert_eq!(data.train().labels(), Some(&[0, 1, 2, 2, 2][..]));
        assert_eq!((data.train().height(), data.train().width()), (1, 2));
        assert!(data.train().is_mapped() && data.test().is_none());
        assert_eq!(data.files().len(), 5);
        assert_eq!(house.unpacked(), 1, "the second opening maps what the first unpacked");
    }
}

#[test]
fn the_digest_is_that_of_the_same_images_in_another_format() {
    let house = House::new();
    house.gray("a/1.png", &[1, 2, 3, 4]);
    house.gray("b/1.png", &[5, 6, 7, 8]);
    let by_class = house.open().expect("a good folder");
    let idx = house.root.path().join("images");
    fs::write(&idx, images_file(2, 2, 2, &[1, 2, 3, 4, 5, 6, 7, 8])).expect("written");
    let idx = Dataset::open(&idx.display().to_string(), &Locations::default()).expect("a good file");
    assert_eq!(by_class.digest(), idx.digest());
}

#[test]
fn train_and_test_share_their_labels() {
    let house = House::new();
    house.gray("train/a/1.png", &[1, 2]);
    house.gray("train/b/1.png", &[3, 4]);
    house.gray("test/b/1.png", &[5, 6]);
    house.gray("elsewhere/c/1.png", &[5, 6, 7, 8]);
    let data = house.open().expect("a good folder");
    assert_eq!(data.classes().expect("names"), ["a", "b"]);
    assert_eq!(data.train().bytes(), [1, 2, 3, 4]);
    let test = data.test().expect("test images");
    assert_eq!((test.bytes(), test.labels()), (&[5, 6][..], Some(&[1][..])));

    house.gray("test/c/1.png", &[5, 6]);
    assert_eq!(
        house.error(),
        "test/c is not usable: found a class without training images, expected a class that has training images too: \
         a, b"
    );
    fs::remove_dir_all(house.path("test")).expect("removed");
    house.gray("test/a/1.png", &[5, 6, 7, 8]);
    assert_eq!(
        house.error(),
        "test/a/1.png is not usable: found an image of 2x2, expected 1x2 as in train/a/1.png"
    );
}

#[test]
fn a_class_may_be_called_train() {
    let house = House::new();
    house.gray("train/1.png", &[1, 2]);
    house.gray("bus/1.png", &[3, 4]);
    let data = house.open().expect("a good folder");
    assert_eq!(data.classes().expect("names"), ["bus", "train"]);
}

#[test]
fn colors_depth_and_transparency_become_gray() {
    let house = House::new();
    RgbImage::from_pixel(1, 1, Rgb([255, 0, 0])).save(house.path("a/1-red.png")).expect("written");
    RgbImage::from_pixel(1, 1, Rgb([0, 255, 0])).save(house.path("a/2-green.png")).expect("written");
    RgbaImage::from_pixel(1, 1, image::Rgba([9, 9, 9, 0]))
        .save(house.path("a/3-clear.png"))
        .expect("written");
    let mut deep = Vec::new();
    image::codecs::png::PngEncoder::new(&mut deep)
        .write_image(&(200_u16 * 257).to_ne_bytes(), 1, 1, image::ExtendedColorType::L16)
        .expect("encoded");
    house.write("a/4-deep.png", &deep);
    // A wrong ending does no harm.
    let mut jpeg = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 100)
        .write_image(&[77], 1, 1, image::ExtendedColorType::L8)
        .expect("encoded");
    house.write("a/5-jpeg.png", &jpeg);
    let data = house.open().expect("a good folder");
    // 0.2126 and 0.7152 of 255
    assert_eq!(data.train().bytes(), [54, 182, 9, 200, 77]);
}

#[test]
fn what_does_not_fit_is_named() {
    let house = House::new();
    house.gray("a/1.png", &[1, 2, 3, 4]);
    house.gray("a/2.png", &[1, 2]);
    assert_eq!(house.error(), "a/2.png is not usable: found an image of 1x2, expected 2x2 as in a/1.png");
    let wanted = "expected a PNG or JPEG file (files whose name starts with a dot are passed over)";

    house.write("a/2.png", b"GIF89a and so on");
    assert_eq!(
        house.error(),
        format!("a/2.png is not usable: found an image in the format image/gif, {wanted}")
    );
    house.write("a/2.png", b"notes");
    assert_eq!(house.error(), format!("a/2.png is not usable: found a file that is no image, {wanted}"));
    house.write("a/2.png", b"");
    assert_eq!(house.error(), format!("a/2.png is not usable: found a file that is no image, {wanted}"));
    let whole = fs::read(house.path("a/1.png")).expect("there");
    for length in [9, 20, 40, whole.len() - 14] {
        house.write("a/2.png", &whole[..length]);
        let error = house.error();
        assert!(error.starts_with("a/2.png is not usable: found an image that cannot be read"), "{error}");
    }
    fs::remove_file(house.path("a/2.png")).expect("removed");
    fs::create_dir(house.path("a/2.png")).expect("a folder");
    assert_eq!(house.error(), format!("a/2.png is not usable: found a folder, {wanted}"));
    fs::remove_dir(house.path("a/2.png")).expect("removed");

    fs::create_dir(house.path("b")).expect("a folder");
    assert_eq!(
        house.error(),
        "b is not usable: found a class without images, expected at least one PNG or JPEG file in the folder of each \
         class"
    );
    assert_eq!(house.unpacked(), 0, "nothing of all that was kept");
}

#[test]
fn a_header_that_promises_a_huge_image_is_refused_before_it_is_decoded() {
    let house = House::new();
    house.gray("a/1.png", &[1, 2]);
    let mut huge = fs::read(house.path("a/1.png")).expect("there");
    // width and height of the header chunk, and its checksum
    huge[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
    let crc = crc32(&huge[12..29]);
    huge[29..33].copy_from_slice(&crc.to_be_bytes());
    house.write("a/1.png", &huge);
    assert!(house.error().starts_with("a/1.png is not usable: found an image that cannot be read"));
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[test]
fn folders_without_classes_or_with_too_many_are_refused() {
    let house = House::new();
    house.gray("1.png", &[1, 2]);
    let error = house.error();
    assert!(error.contains("or a folder of PNG or JPEG files for each class"), "{error}");
    for class in 0..257 {
        fs::create_dir(house.path(&class.to_string())).expect("a folder");
    }
    assert_eq!(
        house.error(),
        " is not usable: found 257 classes, expected a folder for each class, at most 256"
    );
}

#[test]
fn a_changed_image_is_never_served_from_the_cache() {
    let house = House::new();
    house.gray("a/1.png", &[1, 2]);
    let first = house.open().expect("a good folder");
    let path = house.path("a/1.png");
    let time = fs::metadata(&path).and_then(|metadata| metadata.modified()).expect("a time");
    let length = |path: &Path| fs::metadata(path).expect("there").len();
    let before = length(&path);
    // The same name, length and time of the content; the inode has changed, of which the system keeps a time too.
    std::thread::sleep(std::time::Duration::from_millis(20));
    house.gray("a/1.png", &[3, 4]);
    fs::File::options().write(true).open(&path).and_then(|file| file.set_modified(time)).expect("set");
    assert_eq!(before, length(&path));
    let second = house.open().expect("a good folder");
    assert_eq!((first.train().bytes(), second.train().bytes()), (&[1, 2][..], &[3, 4][..]));
    assert_ne!(first.digest(), second.digest());

    fs::rename(&path, house.path("b/1.png")).expect("renamed");
    fs::remove_dir(house.path("a")).expect("removed");
    assert_eq!(house.open().expect("a good folder").classes().expect("names"), ["b"]);
}

#[test]
fn the_published_sets_and_the_drawn_one_have_named_classes() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = root.path().join("data/fashion-mnist");
    fs::create_dir_all(&folder).expect("folders");
    fs::write(folder.join("train-images-idx3-ubyte"), images_file(1, 1, 2, &[1, 2])).expect("written");
    let locations = Locations::new(Some(root.path().join("data")), Some(root.path().join("cache")));
    let open = |name: &str| Dataset::open(name, &locations).expect("a good set");
    let clothing = open("fashion-mnist");
    assert_eq!(clothing.classes().map(|names| (names.len(), names[9].as_str())), Some((10, "Ankle boot")));
    assert_eq!(open("synthetic-digits").classes().map(|names| names[7].clone()).as_deref(), Some("7"));
    assert_eq!(open(&folder.display().to_string()).classes(), None, "nobody says what they mean");
}
