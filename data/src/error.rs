//! What can go wrong with a data set, told apart by whose turn it is: the user's or the machine's.

use std::path::{Path, PathBuf};

/// Why a data set could not be opened or fetched.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The name is no data set, and no file or folder has it.
    #[error(
        "unknown data set {given:?}{}; use mnist, fashion-mnist, synthetic-digits, or the path of a folder of IDX \
         files, of a folder with a folder of images for each class, or of one IDX image file",
        nearest.map(|name| format!(" (did you mean {name:?}?)")).unwrap_or_default()
    )]
    UnknownName {
        /// What was asked for.
        given: String,
        /// The known name that looks most like it.
        nearest: Option<&'static str>,
    },
    /// The data set is given as a path that leads nowhere.
    #[error("no data set at {}: there is no such file or folder", path.display())]
    NoSuchPath {
        /// The path as given.
        path: PathBuf,
    },
    /// A folder without training images.
    #[error(
        "no training images in {}: it should hold train-images-idx3-ubyte or train-images-idx3-ubyte.gz, or a folder of \
         PNG or JPEG files for each class",
        folder.display()
    )]
    NoTrainingImages {
        /// The folder that was looked into.
        folder: PathBuf,
    },
    /// A file that is truncated, too long, or of another kind.
    #[error("{} is not usable: found {found}, expected {expected}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is in it.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// Only published data sets can be downloaded.
    #[error("{given:?} cannot be fetched: only mnist and fashion-mnist are downloaded")]
    NotFetchable {
        /// What was asked for.
        given: String,
    },
    /// A published data set that is not on this machine.
    #[error(
        "{name} is not on this machine (FOLDWISE_DATA: {data}; download cache: {cache}); run `foldwise data fetch \
         {name}` to download it from the public mirrors, or set FOLDWISE_DATA to a folder that holds {name}/; \
         synthetic-digits needs no download"
    )]
    NotFound {
        /// The data set.
        name: &'static str,
        /// What the look into `FOLDWISE_DATA` gave.
        data: String,
        /// What the look into the download cache gave.
        cache: String,
    },
    /// Every mirror failed.
    #[error(
        "failed to download {file} of {name}: {}; it is not in FOLDWISE_DATA ({data}) nor in the download cache ({}) \
         either; try again later (what has arrived is kept), copy the published files into that cache folder, or set \
         FOLDWISE_DATA to a folder that holds {name}/",
        failures.join("; "),
        cache.display()
    )]
    Download {
        /// The data set.
        name: String,
        /// The file that could not be had.
        file: String,
        /// One line a mirror: its address and what went wrong.
        failures: Vec<String>,
        /// What the look into `FOLDWISE_DATA` gave.
        data: String,
        /// The folder the file was meant for.
        cache: PathBuf,
    },
    /// There is no home folder to keep downloads in.
    #[error(
        "no folder to keep downloads in: set FOLDWISE_CACHE to one, or FOLDWISE_DATA to a folder of data sets"
    )]
    NoCache,
    /// The system refused.
    #[error("failed to {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
}

impl DataError {
    /// Whether what the user gave is wrong (a name, a path, a file's content) rather than something that happened
    /// (network, disk, data that was never fetched).
    pub fn is_user_error(&self) -> bool {
        match self {
            DataError::UnknownName { .. }
            | DataError::NoSuchPath { .. }
            | DataError::NoTrainingImages { .. }
            | DataError::Malformed { .. }
            | DataError::NotFetchable { .. } => true,
            DataError::NotFound { .. }
            | DataError::Download { .. }
            | DataError::NoCache
            | DataError::Io { .. } => false,
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> DataError {
        move |source| DataError::Io { action, path: path.to_owned(), source }
    }
}
