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
    /// The classes that occur, in the order of their labels.
    pub classes: Vec<ClassSummary>,
    /// SHA-256 of the training images.
    pub digest: String,
    /// A few of them, drawn with letters.
    #[serde(skip)]
    pub sketch: String,
}

/// How many images a class has.
#[derive(Debug, Clone, Serialize)]
pub struct ClassSummary {
    /// Its number.
    pub label: u8,
    /// What it is called; its number where it has no name.
    pub name: String,
    /// Training images.
    pub train_images: usize,
    /// Test images, if their labels are known.
    pub test_images: Option<usize>,
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
        classes: classes(&data),
        digest: data.digest().to_owned(),
        sketch: sketch(train, &SKETCHED),
    })
}

fn classes(data: &Dataset) -> Vec<ClassSummary> {
    let test = data.test().and_then(|test| test.class_counts());
    let of_test = |label| {
        let count = test.as_ref()?.iter().find(|(of, _)| *of == label).map_or(0, |(_, count)| *count);
        Some(count)
    };
    let name = |label: u8| {
        let names = data.classes()?;
        names.get(usize::from(label)).cloned()
    };
    let counts = data.train().class_counts().unwrap_or_default();
    let class = |(label, train_images): (u8, usize)| ClassSummary {
        label,
        name: name(label).unwrap_or_else(|| label.to_string()),
        train_images,
        test_images: of_test(label),
    };
    counts.into_iter().map(class).collect()
}

fn place(origin: &Origin) -> String {
    match origin {
        Origin::Drawn => "drawn by the program".to_owned(),
        Origin::DataFolder(path) | Origin::Cache(path) | Origin::Path(path) => path.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn idx(magic: u8, sizes: &[u8], values: &[u8]) -> Vec<u8> {
        let header = [0, 0, 8, magic].into_iter().chain(sizes.iter().flat_map(|size| [0, 0, 0, *size]));
        header.chain(values.iter().copied()).collect()
    }

    #[test]
    fn the_classes_have_names_and_counts() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("fashion-mnist");
        fs::create_dir(&folder).expect("a folder");
        let write = |name: &str, content| fs::write(folder.join(name), content).expect("written");
        write("train-images-idx3-ubyte", idx(3, &[4, 1, 1], &[0; 4]));
        write("train-labels-idx1-ubyte", idx(1, &[4], &[9, 0, 9, 200]));
        write("t10k-images-idx3-ubyte", idx(3, &[1, 1, 1], &[0]));
        write("t10k-labels-idx1-ubyte", idx(1, &[1], &[9]));
        let locations = Locations::new(Some(root.path().to_owned()), None);
        let summary = summary("fashion-mnist", &locations).expect("a good set");
        let classes: Vec<_> = summary
            .classes
            .iter()
            .map(|class| (class.label, class.name.as_str(), class.train_images, class.test_images))
            .collect();
        // A label that the data set has no name for is its number.
        let expected =
            [(0, "T-shirt/top", 1, Some(0)), (9, "Ankle boot", 2, Some(1)), (200, "200", 1, Some(0))];
        assert_eq!(classes, expected);
    }
}
