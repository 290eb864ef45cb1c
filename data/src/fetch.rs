//! Bringing a published data set into the download cache.

use std::fs;
use std::path::PathBuf;

use crate::catalog::{self, Published};
use crate::dataset::{self, Origin, Searched};
use crate::download::Downloader;
use crate::{DataError, Locations, Reference};

/// What happens during a download, for whoever shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchEvent<'a> {
    /// A transfer starts, or goes on after what an earlier one left.
    Started {
        /// The file's name.
        file: &'a str,
        /// Where it comes from.
        url: &'a str,
        /// Bytes that are already here.
        position: u64,
        /// Its whole size in bytes, where the mirror tells.
        total: Option<u64>,
    },
    /// So many bytes of the file are here now.
    Advanced {
        /// Bytes from the start of the file.
        position: u64,
    },
    /// The file is whole, checked, and in the cache.
    Finished {
        /// The file's name.
        file: &'a str,
    },
    /// A mirror was given up.
    MirrorFailed {
        /// The address that was tried.
        url: &'a str,
        /// What went wrong.
        reason: &'a str,
    },
}

/// What a fetch found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchReport {
    /// The data set.
    pub name: String,
    /// Where it is now.
    pub origin: Origin,
    /// The files in the cache; none where nothing had to be fetched.
    pub files: Vec<FetchedFile>,
}

/// One file of the download cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// The address it was downloaded from, or `None` where it was here already.
    pub downloaded_from: Option<String>,
}

/// Downloads what is missing of the data set `name` into the cache, each file checked by its SHA-256; files that are
/// there are checked as well, and replaced if they are wrong. Does nothing where `FOLDWISE_DATA` has the data set, or
/// for one that is drawn. An interrupted download goes on where it stopped.
pub fn fetch(
    name: &str,
    locations: &Locations,
    progress: &mut dyn FnMut(FetchEvent<'_>),
) -> Result<FetchReport, DataError> {
    let set = match Reference::parse(name)? {
        Reference::Mnist => &catalog::MNIST,
        Reference::FashionMnist => &catalog::FASHION_MNIST,
        Reference::SyntheticDigits => {
            return Ok(FetchReport { name: name.to_owned(), origin: Origin::Drawn, files: Vec::new() });
        }
        Reference::Path(_) => return Err(DataError::NotFetchable { given: name.to_owned() }),
    };
    fetch_published(set, locations, progress)
}

fn fetch_published(
    set: &Published,
    locations: &Locations,
    progress: &mut dyn FnMut(FetchEvent<'_>),
) -> Result<FetchReport, DataError> {
    let searched = match dataset::locate(set, locations) {
        Ok(origin @ Origin::DataFolder(_)) => {
            return Ok(FetchReport { name: set.name.to_owned(), origin, files: Vec::new() });
        }
        Ok(_) => Searched { data: "not used".to_owned(), cache: String::new() },
        Err(searched) => searched,
    };
    let folder = locations.download_folder(set).ok_or(DataError::NoCache)?;
    fs::create_dir_all(&folder).map_err(DataError::io("create", &folder))?;
    let mut downloader = Downloader::new(&folder, locations.proxy(), progress);
    let mut files = Vec::new();
    for file in &set.files {
        let fetched = downloader.fetch(file, set.mirrors)?.map_err(|failures| DataError::Download {
            name: set.name.to_owned(),
            file: file.name.to_owned(),
            failures,
            data: searched.data.clone(),
            cache: folder.clone(),
        })?;
        files.push(fetched);
    }
    Ok(FetchReport { name: set.name.to_owned(), origin: Origin::Cache(folder), files })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::PublishedFile;

    fn quiet(_: FetchEvent<'_>) {}

    #[test]
    fn drawn_digits_and_paths_are_not_downloaded() {
        let nowhere = Locations::default();
        let report = fetch("synthetic-digits", &nowhere, &mut quiet).expect("nothing to do");
        assert_eq!((report.origin, report.files.len()), (Origin::Drawn, 0));
        let error = fetch("./a/path", &nowhere, &mut quiet).expect_err("not fetchable");
        assert!(error.is_user_error(), "{error}");
        let error = fetch("mnist", &nowhere, &mut quiet).expect_err("nowhere to put it");
        assert!(matches!(error, DataError::NoCache), "{error}");
    }

    #[test]
    fn when_all_fails_the_message_names_all_three_places() {
        let file =
            PublishedFile { name: "train-images-idx3-ubyte.gz", content_bytes: 9, content_sha256: "00" };
        // Port 9 of the own machine: nobody listens there.
        let set = Published {
            name: "mnist",
            mirrors: &["http://127.0.0.1:9/a/"],
            files: [file; 4],
            classes: catalog::DIGITS,
        };
        let root = tempfile::tempdir().expect("a folder");
        let locations = Locations::new(Some(root.path().join("d")), Some(root.path().join("c")));
        let mut failed = 0;
        let error = fetch_published(&set, &locations, &mut |event| {
            failed += usize::from(matches!(event, FetchEvent::MirrorFailed { .. }));
        })
        .expect_err("no mirror");
        assert_eq!(failed, 1);
        assert!(!error.is_user_error());
        let message = error.to_string();
        let cache = root.path().join("c/data/mnist").display().to_string();
        for part in
            ["http://127.0.0.1:9/a/train-images-idx3-ubyte.gz: ", "FOLDWISE_DATA", &cache, "try again"]
        {
            assert!(message.contains(part), "{message:?} lacks {part:?}");
        }
    }

    #[test]
    fn the_digests_of_the_catalog_are_those_of_the_real_files() {
        let Some(data) = Locations::from_env().data().cloned() else { return };
        // The published training images of MNIST may be present as a rebuilt copy, so they are left out.
        for (set, skip) in [(&catalog::MNIST, 1), (&catalog::FASHION_MNIST, 0)] {
            for file in &set.files[skip..] {
                let Ok(file_there) = fs::File::open(data.join(set.name).join(file.name)) else { continue };
                assert_eq!(crate::download::check(&file_there, file), Ok(()), "{}/{}", set.name, file.name);
            }
        }
    }
}
