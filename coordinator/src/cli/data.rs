//! `foldwise data`: fetch and show data sets.

use foldwise_data::{Dataset, Locations, Origin, fetch, sketch, terminal_progress};
use serde::Serialize;

use super::args::DataCommand;
use super::error::CliError;
use super::render::{self, Answer, Format};

/// What is fetched where no name is given.
const PUBLISHED: [&str; 2] = ["mnist", "fashion-mnist"];

/// Images in the picture of a data set.
const SKETCHED: [usize; 4] = [0, 1, 2, 3];

/// A file of a fetched data set; or, where nothing had to be fetched, the place that has the data set.
#[derive(Debug, Clone, Serialize)]
pub struct FetchedRow {
    /// The data set.
    pub dataset: String,
    /// Where it lies.
    pub path: String,
    /// Its size.
    pub bytes: Option<u64>,
    /// The address it came from; none if it was here already.
    pub downloaded_from: Option<String>,
}

/// What a data set holds.
#[derive(Debug, Clone, Serialize)]
pub struct DataSummary {
    /// As a study file names it.
    pub name: String,
    /// Where it was found.
    pub origin: String,
    /// Training images.
    pub train_images: usize,
    /// Test images, if there are some.
    pub test_images: Option<usize>,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// Training images of each class.
    pub classes: Vec<(u8, usize)>,
    /// SHA-256 of the training images.
    pub digest: String,
    /// A few of them, drawn with letters.
    #[serde(skip)]
    pub sketch: String,
}

/// Does what a `foldwise data` command says.
///
/// # Errors
/// An unknown data set, one that is not here, or a download that failed.
pub fn execute(command: &DataCommand) -> Result<(), CliError> {
    let locations = Locations::from_env();
    match command {
        DataCommand::Fetch { names, output } => fetch_all(names, &locations, output.format),
        DataCommand::Show { name, output } => {
            render::print(Answer::Data(&summary(name, &locations)?), output.format)
        }
    }
}

fn fetch_all(names: &[String], locations: &Locations, format: Format) -> Result<(), CliError> {
    let names = if names.is_empty() { PUBLISHED.map(str::to_owned).to_vec() } else { names.to_vec() };
    let mut rows = Vec::new();
    for name in names {
        let report = fetch(&name, locations, &mut terminal_progress())?;
        if report.files.is_empty() {
            rows.push(FetchedRow {
                dataset: name,
                path: place(&report.origin),
                bytes: None,
                downloaded_from: None,
            });
        }
        rows.extend(report.files.into_iter().map(|file| FetchedRow {
            dataset: report.name.clone(),
            path: file.path.display().to_string(),
            bytes: Some(file.bytes),
            downloaded_from: file.downloaded_from,
        }));
    }
    render::print(Answer::Fetched(&rows), format)
}

fn summary(name: &str, locations: &Locations) -> Result<DataSummary, CliError> {
    let data = Dataset::open(name, locations)?;
    let train = data.train();
    Ok(DataSummary {
        name: data.name().to_owned(),
        origin: place(data.origin()),
        train_images: train.len(),
        test_images: data.test().map(|test| test.len()),
        height: train.height(),
        width: train.width(),
        classes: train.class_counts().unwrap_or_default(),
        digest: data.digest().to_owned(),
        sketch: sketch(train, &SKETCHED),
    })
}

fn place(origin: &Origin) -> String {
    match origin {
        Origin::Drawn => "drawn by the program".to_owned(),
        Origin::DataFolder(path) | Origin::Cache(path) | Origin::Path(path) => path.display().to_string(),
    }
}
