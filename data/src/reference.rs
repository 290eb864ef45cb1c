//! What a study file may write as its data set: a known name or a path.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::DataError;

/// A data set as a study file names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// The handwritten digits of LeCun, Cortes and Burges: 60,000 and 10,000 images of 28x28.
    Mnist,
    /// Zalando's articles of clothing, in the format and sizes of MNIST.
    FashionMnist,
    /// Digits this crate draws by itself; no file needed.
    SyntheticDigits,
    /// A folder of IDX files under their usual names, a folder of classes with images in them, or one IDX image file.
    Path(PathBuf),
}

impl Reference {
    /// The names that are no paths.
    pub const NAMES: [&'static str; 3] = ["mnist", "fashion-mnist", "synthetic-digits"];

    /// Reads a reference. A text with a slash is a path, whether or not it exists; a bare word is a known name, or
    /// else a file or folder of the working directory. Fails with [`DataError::UnknownName`].
    pub fn parse(text: &str) -> Result<Reference, DataError> {
        match text {
            "mnist" => return Ok(Reference::Mnist),
            "fashion-mnist" => return Ok(Reference::FashionMnist),
            "synthetic-digits" => return Ok(Reference::SyntheticDigits),
            _ => {}
        }
        if text.contains('/') || (!text.is_empty() && Path::new(text).exists()) {
            return Ok(Reference::Path(PathBuf::from(text)));
        }
        Err(DataError::UnknownName { given: text.to_owned(), nearest: nearest_name(text) })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reference::Mnist => formatter.write_str("mnist"),
            Reference::FashionMnist => formatter.write_str("fashion-mnist"),
            Reference::SyntheticDigits => formatter.write_str("synthetic-digits"),
            Reference::Path(path) => path.display().fmt(formatter),
        }
    }
}

fn nearest_name(text: &str) -> Option<&'static str> {
    let lower = text.to_lowercase().replace('_', "-");
    Reference::NAMES
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&lower, name), name))
        .filter(|(similarity, _)| *similarity > 0.75)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names_come_back_as_they_were_written() {
        for name in Reference::NAMES {
            assert_eq!(Reference::parse(name).expect("a known name").to_string(), name);
        }
    }

    #[test]
    fn a_slash_makes_a_path() {
        assert_eq!(Reference::parse("./digits").expect("a path"), Reference::Path(PathBuf::from("./digits")));
    }

    #[test]
    fn a_slip_of_the_pen_gets_the_nearest_name() {
        for (given, nearest) in [
            ("minst", Some("mnist")),
            ("MNIST", Some("mnist")),
            ("fashion_mnist", Some("fashion-mnist")),
            ("synthetic", Some("synthetic-digits")),
            ("cifar", None),
            ("", None),
        ] {
            match Reference::parse(given) {
                Err(DataError::UnknownName { nearest: found, .. }) => assert_eq!(found, nearest, "{given}"),
                other => panic!("{given}: {other:?}"),
            }
        }
    }
}
