//! The model that a study starts from: found by the study that made it, and compared with the network that is to take it.

use std::io::Read;
use std::path::{Path, PathBuf};

use foldwise_shared::artifact::{Artifact, ArtifactRecord, MODEL};
use foldwise_shared::ids::{StudyId, TrialNumber};
use foldwise_shared::model::ModelSettings;
use foldwise_shared::record::StudyRecord;
use foldwise_shared::spec::{SourceSection, SpecError, StudySpec};
use foldwise_shared::state::StudyState;
use foldwise_shared::value::Params;

use super::CreateError;
use crate::artifacts::Artifacts;
use crate::model_file::{ModelFile, ModelFileError};
use crate::store::{Reader, StoreError};

/// Where models are looked for: in a database and beside it, and in a file that somebody brought.
#[derive(Debug, Clone)]
pub struct Sources {
    database: PathBuf,
    brought: Option<ModelFile>,
}

/// A study that knows its model.
pub(super) struct Sourced {
    pub spec: StudySpec,
    pub model: Option<ModelFile>,
    /// The fit that the model is of, where it is in the database.
    pub parent: Option<StudyId>,
}

impl Sources {
    /// The models of a database, which need not be there as long as no study starts from one.
    pub fn of(database: &Path) -> Self {
        Self { database: database.to_owned(), brought: None }
    }

    /// And one that is not among the artifacts yet.
    pub fn with(mut self, model: ModelFile) -> Self {
        self.brought = Some(model);
        self
    }

    /// Finds the model that a study starts from, and takes over from its fit what the study does not say.
    pub(super) fn resolve(&self, spec: StudySpec) -> Result<Sourced, CreateError> {
        let Some(SourceSection { study, model: digest }) = spec.source.clone() else {
            return Ok(Sourced { spec, model: None, parent: None });
        };
        let reader = match Reader::open_mended(&self.database) {
            Ok(reader) => Some(reader),
            Err(StoreError::NotFound { .. } | StoreError::Empty { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        if let Some(digest) = digest {
            let model = self.open(&digest)?;
            let parent = match (&reader, study) {
                (Some(reader), Some(name)) => reader.study_id(&name)?,
                _ => None,
            };
            return Ok(Sourced { spec: with_network(spec, &model)?, model: Some(model), parent });
        }
        let name = study.unwrap_or_default();
        let (fit, model) = find_model(reader.as_ref(), &name)?;
        let fitted = StudySpec::from_json(&fit.spec)?;
        let spec = spec.starting_from(&fitted, &model.digest)?;
        Ok(Sourced { spec, model: Some(self.open(&model.digest)?), parent: Some(fit.id) })
    }

    fn open(&self, digest: &str) -> Result<ModelFile, CreateError> {
        if let Some(brought) = self.brought.as_ref().filter(|model| model.artifact().digest == digest) {
            return Ok(brought.clone());
        }
        let wrong = |message: String| SpecError::new("source.model", message);
        let mut bytes = Vec::new();
        let artifacts = Artifacts::of(&self.database, None);
        let (mut file, _) = artifacts.open(digest).map_err(|error| {
            wrong(format!("{error}; `foldwise evaluate STUDY --model FILE` brings a model from elsewhere"))
        })?;
        file.read_to_end(&mut bytes)
            .map_err(|error| wrong(format!("failed to read the artifact {digest}: {error}")))?;
        Ok(ModelFile::read(bytes).map_err(|error| wrong(error.to_string()))?)
    }
}

/// A study whose file names a model and no network has the network that the model says it is of.
fn with_network(mut spec: StudySpec, model: &ModelFile) -> Result<StudySpec, CreateError> {
    if spec.model.network.is_none() {
        let section = model.section().map_err(|error| SpecError::new("source.model", error.to_string()))?;
        let dropout = spec.model.dropout;
        spec.model = section;
        spec.model.dropout = dropout.or(spec.model.dropout);
        spec = spec.checked()?;
    }
    Ok(spec)
}

/// Whether the model is one of the study's network, for its images.
pub(super) fn check_model(
    spec: &StudySpec,
    model: &ModelFile,
    height: u32,
    width: u32,
) -> Result<(), CreateError> {
    // A param that is searched changes no shape.
    let settings = ModelSettings::resolve(spec, &Params::new());
    let settings = settings.map_err(|message| SpecError::new("model", message))?;
    model.check(&settings, height, width).map_err(|error: ModelFileError| {
        let whose = spec.source.as_ref().and_then(|source| source.study.as_deref());
        let whose = whose.map(|name| format!(" (study `{name}`)")).unwrap_or_default();
        SpecError::new("source.model", format!("{error}{whose}")).into()
    })
}

/// The fit that is meant by a name, and its model: the study itself, or the newest fit of it that has one.
fn find_model(reader: Option<&Reader>, name: &str) -> Result<(StudyRecord, Artifact), CreateError> {
    let wrong = |message: String| CreateError::from(SpecError::new("source.study", message));
    let studies = reader.map(Reader::studies).transpose()?.unwrap_or_default();
    let Some((reader, named)) = reader.zip(studies.iter().find(|study| study.name == name)) else {
        let known: Vec<&str> = studies.iter().map(|study| study.name.as_str()).collect();
        let known =
            if known.is_empty() { "nor any other".into() } else { format!("there is: {}", known.join(", ")) };
        return Err(wrong(format!("there is no study `{name}` in this database, {known}")));
    };
    let is_fit = |study: &StudyRecord| StudySpec::from_json(&study.spec).is_ok_and(|spec| spec.fit.is_some());
    let fits: Vec<&StudyRecord> = if is_fit(named) {
        vec![named]
    } else {
        studies.iter().rev().filter(|study| study.parent.as_deref() == Some(name) && is_fit(study)).collect()
    };
    for (fit, best) in fits.iter().filter_map(|fit| Some((fit, fit.best.as_ref()?))) {
        if let Some(model) = model_of(reader, fit.id, best.number)? {
            return Ok((StudyRecord::clone(fit), model));
        }
    }
    Err(wrong(match fits.first() {
        None => format!("study `{name}` has no fit; `foldwise fit {name}` makes one"),
        Some(fit) if fit.state == StudyState::Ended => {
            format!(
                "the fit `{}` has ended without a model; see why: foldwise trial list {}",
                fit.name, fit.name
            )
        }
        Some(fit) => {
            let fitted = fit.parent.as_deref().unwrap_or(&fit.name);
            format!(
                "the fit `{}` is not finished, so there is no model yet; `foldwise fit {fitted}` goes on with it",
                fit.name
            )
        }
    }))
}

/// The model of a fit's complete trial: the last that was stored of it.
fn model_of(reader: &Reader, fit: StudyId, trial: TrialNumber) -> Result<Option<Artifact>, StoreError> {
    let artifacts = reader.artifacts(fit, u32::MAX, 0)?;
    let model = artifacts.into_iter().rfind(|artifact| artifact.kind == MODEL && artifact.trial == trial);
    Ok(model.map(|ArtifactRecord { digest, bytes, .. }| Artifact { digest, bytes }))
}

#[cfg(test)]
mod tests;
