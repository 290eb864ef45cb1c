//! Which files a study file may name as its data, when it comes from afar.

use std::path::{Component, Path, PathBuf};

use foldwise_data::Reference;

/// Which paths may be a study's data. The data sets that have names of their own may always be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum DataPaths {
    /// Every path: whoever writes the study file is on this machine.
    #[default]
    Anywhere,
    /// What lies under a folder, whose path is canonical.
    Under(PathBuf),
    /// None.
    Nowhere,
}

/// A folder that data cannot lie under.
#[derive(Debug, thiserror::Error)]
#[error("--data-root {}: {problem}", path.display())]
pub struct DataRootError {
    path: PathBuf,
    problem: String,
}

impl DataPaths {
    /// What lies under a folder, which must be there.
    ///
    /// # Errors
    /// It is not there, or no folder.
    pub fn under(folder: &Path) -> Result<Self, DataRootError> {
        let wrong = |problem: String| DataRootError { path: folder.to_owned(), problem };
        let canonical = folder.canonicalize().map_err(|error| wrong(error.to_string()))?;
        if !canonical.is_dir() {
            return Err(wrong("it is no folder".into()));
        }
        Ok(Self::Under(canonical))
    }

    /// Whether a data set may be used, with the reason if it may not. What is said of a path that may not be used does not
    /// depend on whether it is there.
    pub(super) fn check(&self, dataset: &str) -> Result<(), String> {
        // What is no data set at all is found out where it is opened.
        let Ok(Reference::Path(path)) = Reference::parse(dataset) else { return Ok(()) };
        let root = match self {
            Self::Anywhere => return Ok(()),
            Self::Nowhere => {
                return Err(format!(
                    "this coordinator takes no paths from other machines, and `{dataset}` is one; use mnist, fashion-mnist \
                     or synthetic-digits, or start it with --data-root FOLDER"
                ));
            }
            Self::Under(root) => root,
        };
        let outside = || {
            format!(
                "`{dataset}` does not lie under {}, the --data-root of this coordinator; write {}/NAME",
                root.display(),
                root.display()
            )
        };
        if path.components().any(|part| part == Component::ParentDir) {
            return Err(format!(
                "`{dataset}` has `..` in it; write where the data lies, {}/NAME",
                root.display()
            ));
        }
        // Links are followed to their end, so that none leads out. A path that is not there is one outside until it is known
        // to be inside.
        let mut there = path.as_path();
        let canonical = loop {
            match there.canonicalize() {
                Ok(canonical) => break canonical,
                Err(_) => there = there.parent().ok_or_else(outside)?,
            }
        };
        let is_inside = canonical.starts_with(root)
            // Where it is not there, its nearest folder is: the error that it is not there comes with the opening.
            && (there == path || canonical.is_dir());
        if is_inside { Ok(()) } else { Err(outside()) }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_leads_out_of_the_root() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("data");
        let at = |path: &str| folder.path().join(path).to_str().expect("UTF-8").to_owned();
        std::fs::create_dir_all(root.join("digits")).expect("folders");
        std::fs::create_dir(folder.path().join("data-too")).expect("a folder");
        std::fs::write(folder.path().join("secret"), "x").expect("a file");
        symlink(folder.path(), root.join("out")).expect("a link");
        symlink(folder.path().join("secret"), root.join("file")).expect("a link");
        symlink(root.join("digits"), root.join("in")).expect("a link");
        symlink(&root, folder.path().join("way")).expect("a link");

        let paths = DataPaths::under(&folder.path().join("way")).expect("a root");
        for good in ["data", "data/digits", "data/in", "way/digits", "data/not-there/yet"] {
            assert_eq!(paths.check(&at(good)), Ok(()), "{good}");
        }
        for bad in [
            "secret",
            "data-too",
            "data/out",
            "data/out/secret",
            "data/file",
            "not-there",
            "data/out/not-there",
        ] {
            let error = paths.check(&at(bad)).expect_err(bad);
            assert!(error.contains("does not lie under") && error.contains("--data-root"), "{error}");
        }
        for bad in ["data/../secret", "data/digits/../digits"] {
            assert!(paths.check(&at(bad)).expect_err(bad).contains("has `..` in it"), "{bad}");
        }
        assert!(paths.check("/etc/passwd").is_err());
        assert!(paths.check("./x").is_err());
    }

    #[test]
    fn names_are_always_allowed() {
        let folder = tempfile::tempdir().expect("a folder");
        let under = DataPaths::under(folder.path()).expect("a root");
        for paths in [&DataPaths::Anywhere, &under, &DataPaths::Nowhere] {
            for name in Reference::NAMES {
                assert_eq!(paths.check(name), Ok(()), "{name}");
            }
        }
        assert_eq!(DataPaths::Anywhere.check("/etc/passwd"), Ok(()));
        let error = DataPaths::Nowhere.check("/etc/passwd").expect_err("refused");
        assert!(error.contains("--data-root FOLDER"), "{error}");
        for wrong in [folder.path().join("nowhere"), "/dev/null".into()] {
            assert!(DataPaths::under(&wrong).expect_err("no folder").to_string().contains("--data-root"));
        }
    }
}
