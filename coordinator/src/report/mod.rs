//! The report of a study: one page and the pictures and numbers that it is made of.
//!
//! Everything here is made from records and artifacts that somebody else has read; only [`write`] touches files. A picture is
//! drawn once, as SVG: it stands in the page, and beside it as a file, as PNG and as the CSV of its numbers.

pub mod importance;
pub mod model;
pub mod page;
pub mod plot;
pub mod search;
pub mod table;
pub mod write;

pub use self::page::Report;
pub use self::table::Table;
pub use self::write::{WriteError, write};

use self::plot::Canvas;

/// A picture and what belongs to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// What its files are called, without what follows the dot.
    pub name: String,
    /// What it shows, in a few words.
    pub title: String,
    /// How to read it, in a sentence or two.
    pub caption: String,
    /// The picture.
    pub canvas: Canvas,
    /// Its numbers.
    pub table: Table,
}

/// A part of a page.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Section {
    /// What it is about.
    pub title: String,
    /// Whether it begins a new subject, to which those after it belong.
    pub is_chapter: bool,
    /// What there is to say before the pictures: names and values.
    pub facts: Vec<(String, String)>,
    /// Commands to copy.
    pub commands: Vec<String>,
    /// What a reader should know, a sentence each.
    pub notes: Vec<String>,
    /// Tables to read, each with a title and the name of its file.
    pub tables: Vec<ShownTable>,
    /// The pictures.
    pub pictures: Vec<Picture>,
}

/// A table that stands in the page.
#[derive(Debug, Clone, PartialEq)]
pub struct ShownTable {
    /// What its file is called, without what follows the dot.
    pub name: String,
    /// What it shows.
    pub title: String,
    /// All of it; the page shows the first rows.
    pub table: Table,
}

impl Section {
    /// An empty one.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }

    /// An empty one that begins a new subject.
    pub fn chapter(title: impl Into<String>) -> Self {
        Self { title: title.into(), is_chapter: true, ..Self::default() }
    }

    /// Adds a picture, if there is one.
    pub fn push(&mut self, picture: Option<Picture>) {
        self.pictures.extend(picture);
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty()
            && self.commands.is_empty()
            && self.notes.is_empty()
            && self.tables.is_empty()
            && self.pictures.is_empty()
    }
}
