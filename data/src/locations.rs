//! Where this machine keeps data sets.

use std::env;
use std::path::PathBuf;

use crate::catalog::Published;

/// The folders that are searched, in this order, and the way to the network.
#[derive(Clone, Debug, Default)]
pub struct Locations {
    data: Option<PathBuf>,
    cache: Option<PathBuf>,
    proxy: Option<ureq::Proxy>,
}

impl Locations {
    /// Reads `FOLDWISE_DATA` (a folder with `mnist/` and `fashion-mnist/`), `FOLDWISE_CACHE` (instead of `foldwise`
    /// in the user's cache folder) and the usual proxy variables.
    pub fn from_env() -> Locations {
        let folder = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let user_cache = || directories::BaseDirs::new().map(|base| base.cache_dir().join("foldwise"));
        Locations {
            data: folder("FOLDWISE_DATA"),
            cache: folder("FOLDWISE_CACHE").or_else(user_cache),
            proxy: ureq::Proxy::try_from_env(),
        }
    }

    /// The given folders, and no proxy. Without a cache nothing can be fetched, and unpacked images stay in memory.
    pub fn new(data: Option<PathBuf>, cache: Option<PathBuf>) -> Locations {
        Locations { data, cache, proxy: None }
    }

    /// The folder of data sets that are trusted as they are.
    pub fn data(&self) -> Option<&PathBuf> {
        self.data.as_ref()
    }

    /// The root of everything that is kept between runs and may be deleted at any time.
    pub fn cache(&self) -> Option<&PathBuf> {
        self.cache.as_ref()
    }

    pub(crate) fn data_folder(&self, set: &Published) -> Option<PathBuf> {
        self.data.as_ref().map(|folder| folder.join(set.name))
    }

    pub(crate) fn download_folder(&self, set: &Published) -> Option<PathBuf> {
        self.cache.as_ref().map(|cache| cache.join("data").join(set.name))
    }

    pub(crate) fn unpacked_folder(&self) -> Option<PathBuf> {
        self.cache.as_ref().map(|cache| cache.join("data").join("unpacked"))
    }

    pub(crate) fn proxy(&self) -> Option<ureq::Proxy> {
        self.proxy.clone()
    }
}
