//! From a study file to a study that is known to work: its keys, its data, its shapes, its splits.

use foldwise_data::{DataError, Dataset, Locations};
use foldwise_engine::scheduler::{DataInfo, NewStudy};
use foldwise_shared::model::check_images;
use foldwise_shared::spec::{Objective, SpecError, StudySpec, parse, place};
use foldwise_shared::split::{SplitError, Splits};

use super::source::{Sourced, Sources, check_model};
use super::{DataPaths, StoreError};
use crate::model_file::ModelFile;

/// Why a study cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The study file, also where it does not fit its data.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The data set cannot be read.
    #[error("failed to read the data set: {0}")]
    Data(DataError),
    /// The database cannot be asked for the model that the study starts from.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl CreateError {
    /// Whether the study file is to blame rather than the machine.
    pub fn is_user_error(&self) -> bool {
        matches!(self, Self::Spec(_))
    }
}

impl From<DataError> for CreateError {
    fn from(error: DataError) -> Self {
        // A data set that the file names and that is not there is the file's mistake too.
        if error.is_user_error() || matches!(error, DataError::NotFound { .. }) {
            return SpecError::new("data.dataset", error.to_string()).into();
        }
        Self::Data(error)
    }
}

impl From<SplitError> for CreateError {
    fn from(error: SplitError) -> Self {
        let key = match error {
            SplitError::Folds { .. } => "data.folds",
            SplitError::Holdout { .. } => "data.holdout",
            SplitError::TooMany { .. } => "data.dataset",
        };
        SpecError::new(key, error.to_string()).into()
    }
}

/// Parses a study file, lays the overrides over it, finds the model that it starts from, and checks it against its data.
///
/// # Errors
/// The first thing that is wrong.
pub fn prepare(
    text: &str,
    overrides: &[String],
    locations: &Locations,
    sources: &Sources,
) -> Result<NewStudy, CreateError> {
    prepare_within(text, overrides, locations, &DataPaths::Anywhere, sources)
}

/// As [`prepare`], for a study file that came from afar: only certain paths may be its data.
///
/// # Errors
/// As [`prepare`], and a path that the file may not name.
pub fn prepare_within(
    text: &str,
    overrides: &[String],
    locations: &Locations,
    data_paths: &DataPaths,
    sources: &Sources,
) -> Result<NewStudy, CreateError> {
    let placed = |error: CreateError| match error {
        CreateError::Spec(error) => place(error, text, overrides).into(),
        error => error,
    };
    let Sourced { spec, model, parent } = sources.resolve(parse(text, overrides)?).map_err(placed)?;
    let allowed = if spec.is_external() { Ok(()) } else { data_paths.check(spec.dataset()) };
    let allowed = allowed.map_err(|message| SpecError::new("data.dataset", message).into());
    let data = allowed.and_then(|()| examine(&spec, locations, model.as_ref())).map_err(placed)?;
    let source = model.map(|model| model.artifact());
    Ok(NewStudy { spec, spec_text: text.to_owned(), data, parent, source })
}

/// A transfer learns to tell classes apart.
fn check_labels(spec: &StudySpec, dataset: &Dataset) -> Result<(), SpecError> {
    let parts = [Some(dataset.train()), dataset.test()];
    let labelled = parts.into_iter().flatten().all(|images| images.labels().is_some());
    if spec.study.objective != Objective::Transfer {
        return Ok(());
    }
    let labels = dataset.train().labels().unwrap_or_default();
    let message = if !labelled {
        format!("{} has no labels for all its images, and a transfer needs them", dataset.name())
    } else if labels.iter().all(|label| Some(label) == labels.first()) {
        format!(
            "all training images of {} are of one class; a transfer tells at least 2 apart",
            dataset.name()
        )
    } else {
        return Ok(());
    };
    Err(SpecError::new("data.dataset", message))
}

/// The test image that a fit watches must be there. Without test images it is the first that is held out.
fn check_watched(spec: &StudySpec, dataset: &Dataset) -> Result<(), SpecError> {
    let (Some(fit), Some(test)) = (&spec.fit, dataset.test()) else { return Ok(()) };
    let count = test.len() as u64;
    if fit.image < count {
        return Ok(());
    }
    let possible = match count.checked_sub(1) {
        Some(last) => format!("use 0 to {last}"),
        None => "leave [fit] out".into(),
    };
    let message = format!("there is no test image {}; {} has {count}: {possible}", fit.image, dataset.name());
    Err(SpecError::new("fit.image", message))
}

fn examine(
    spec: &StudySpec,
    locations: &Locations,
    model: Option<&ModelFile>,
) -> Result<DataInfo, CreateError> {
    // The data of an external objective is its own affair.
    if spec.is_external() {
        return Ok(DataInfo::default());
    }
    let dataset = Dataset::open(spec.dataset(), locations)?;
    let train = dataset.train();
    check_images(spec, train.height(), train.width())?;
    let (height, width) = (train.height() as u32, train.width() as u32);
    if let Some(model) = model {
        check_model(spec, model, height, width)?;
    }
    check_labels(spec, &dataset)?;
    check_watched(spec, &dataset)?;
    let images = spec.images_used(train.len());
    let splits = Splits::new(spec.study.seed, spec.scheme(), images)?;
    Ok(DataInfo {
        data_digest: dataset.digest().to_owned(),
        splits_digest: splits.digest(),
        images: images as u64,
        height,
        width,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_needs_labels_and_nothing_else_does() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, head: &[u8], count: usize| {
            let bytes = [head, &vec![0; count]].concat();
            std::fs::write(folder.path().join(name), bytes).expect("written");
        };
        write("train-images-idx3-ubyte", &[0, 0, 8, 3, 0, 0, 0, 4, 0, 0, 0, 28, 0, 0, 0, 28], 4 * 784);
        let path = folder.path().display().to_string();
        let study = |objective: &str, more: &str| {
            let text = format!(
                "version = 1\nstudy = {{ name = \"a\", objective = \"{objective}\" }}\nbudget = {{ trials = 1 }}\n\
                 data = {{ dataset = \"{path}\", holdout = 1 }}\ntrain = {{ epochs = 1 }}\n{more}"
            );
            parse(&text, &[]).expect("a study file")
        };
        let source = "[source]\nstudy = \"b\"";
        let check = |spec: &StudySpec| {
            let dataset = Dataset::open(spec.dataset(), &Locations::new(None, None)).expect("data");
            check_labels(spec, &dataset)
        };
        let error = check(&study("transfer", source)).expect_err("no labels").to_string();
        assert!(error.contains("data.dataset") && error.contains("no labels"), "{error}");
        assert_eq!(check(&study("evaluation", source)), Ok(()));
        write("train-labels-idx1-ubyte", &[0, 0, 8, 1, 0, 0, 0, 4], 4);
        let error = check(&study("transfer", source)).expect_err("one class").to_string();
        assert!(error.contains("data.dataset") && error.contains("of one class"), "{error}");
        assert_eq!(check(&study("evaluation", source)), Ok(()));
        write("train-labels-idx1-ubyte", &[0, 0, 8, 1, 0, 0, 0, 4, 0, 1, 0], 1);
        assert_eq!(check(&study("transfer", source)), Ok(()));

        write("t10k-images-idx3-ubyte", &[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 28, 0, 0, 0, 28], 2 * 784);
        write("t10k-labels-idx1-ubyte", &[0, 0, 8, 1, 0, 0, 0, 2], 2);
        let dataset = Dataset::open(&path, &Locations::new(None, None)).expect("data");
        let watched = |image: u64| {
            let more =
                format!("model = {{ network = \"lab\", latent_dim = 2 }}\nfit = {{ image = {image} }}");
            check_watched(&study("training", &more), &dataset)
        };
        assert_eq!(watched(1), Ok(()));
        let error = watched(2).expect_err("two images").to_string();
        assert!(error.contains("fit.image") && error.contains("use 0 to 1"), "{error}");
    }
}
