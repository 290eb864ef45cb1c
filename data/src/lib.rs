//! The data sets of Foldwise: finds or downloads them, checks every byte, and hands out their images as bytes
//! that all processes of a machine share.
//!
//! The path of the data: a [`Reference`] (what a study file names) is looked up in the [`Locations`] (where this
//! machine keeps data), its IDX files or its folders of images are read and unpacked once, and a [`Dataset`] maps the
//! result read-only. [`fetch`] fills the download cache beforehand.
//!
//! Invariant: opening never downloads, and nothing but [`Locations::from_env`] reads the environment.

mod catalog;
mod class_folders;
mod dataset;
mod digest;
mod download;
mod error;
mod fetch;
mod idx;
mod images;
mod locations;
mod progress;
mod reference;
mod sketch;
mod synthetic;
mod temporary;
mod unpacked;

pub use dataset::{Dataset, Origin, SourceFile};
pub use error::DataError;
pub use fetch::{FetchEvent, FetchReport, FetchedFile, fetch};
pub use idx::{decode_images, decode_labels};
pub use images::{Images, Shape};
pub use locations::Locations;
pub use progress::terminal_progress;
pub use reference::Reference;
pub use sketch::sketch;
pub use synthetic::{Part, draw_synthetic_digits};
