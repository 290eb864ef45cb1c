//! Where that which comes from a study is run: in this process, or at a coordinator.

use foldwise_data::Locations;
use foldwise_shared::record::StudyRecord;
use foldwise_shared::spec::{StudySpec, differences};
use foldwise_shared::state::StudyState;

use crate::cli::args::{SourceArgs, WorkersArgs};
use crate::cli::error::CliError;
use crate::cli::next;
use crate::cli::remote::Remote;
use crate::cli::render::Format;
use crate::cli::run::{self, Run};
use crate::cli::source::Source;
use crate::cli::watch::{self, Look};
use crate::coordinator::{CreateError, Sources, prepare};
use crate::local::Program;
use crate::model_file::ModelFile;
use crate::store::{Reader, Store, StoreError};

/// A place for studies, and the workers for it.
pub(in crate::cli) struct Stage<'a> {
    source: &'a SourceArgs,
    workers: &'a WorkersArgs,
}

/// A study that is to be there and to end.
pub(in crate::cli) struct Planned {
    /// Its effective spec.
    pub spec: StudySpec,
    /// The same as a study file.
    pub text: String,
    /// The study that it comes from.
    pub parent: Option<StudyRecord>,
    /// The model that it starts from, where that comes from elsewhere.
    pub model: Option<ModelFile>,
}

impl Planned {
    /// A study by its spec, whose text is written from it.
    pub fn new(spec: StudySpec, parent: Option<StudyRecord>) -> Result<Self, CliError> {
        let text = spec.to_toml().map_err(|error| CliError::Other(error.into()))?;
        Ok(Self { spec, text, parent, model: None })
    }
}

/// What an interrupted command says of how to go on.
const AGAIN: &str = "the same command";

impl<'a> Stage<'a> {
    pub fn new(source: &'a SourceArgs, workers: &'a WorkersArgs) -> Self {
        Self { source, workers }
    }

    /// What is there now; none where there is no database yet.
    pub fn look(&self) -> Result<Option<Source>, CliError> {
        if let Some(remote) = Remote::named(self.source)? {
            return Ok(Some(Source::Server(Box::new(remote))));
        }
        match Reader::open_mended(&self.source.database()) {
            Ok(reader) => Ok(Some(Source::File(reader))),
            Err(StoreError::NotFound { .. } | StoreError::Empty { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What is there now.
    pub fn open(&self) -> Result<Source, CliError> {
        match self.look()? {
            Some(source) => Ok(source),
            None => Ok(Source::File(Reader::open(&self.source.database())?)),
        }
    }

    /// A study, if there is one of that name.
    pub fn find(&self, name: &str) -> Result<Option<StudyRecord>, CliError> {
        match self.look()? {
            Some(source) => Ok(source.studies()?.into_iter().find(|study| study.name == name)),
            None => Ok(None),
        }
    }

    /// Where it is, for people.
    fn whereabouts(&self) -> String {
        match &self.source.coordinator {
            Some(url) => url.clone(),
            None => self.source.database().display().to_string(),
        }
    }

    /// Runs a study to its end, goes on with it, or finds that it has ended; says whether anything was left to do.
    pub fn carry_out(&self, planned: Planned) -> Result<(StudyRecord, bool), CliError> {
        let name = planned.spec.study.name.clone();
        let stored = self.find(&name)?;
        if let Some(stored) = &stored {
            self.check_same(stored, &planned.spec)?;
            if stored.state == StudyState::Ended {
                return Ok((stored.clone(), false));
            }
        }
        match Remote::named(self.source)? {
            Some(remote) => self.at_coordinator(remote, planned, stored)?,
            None => self.here(planned, stored)?,
        }
        Ok((self.open()?.study(&name)?, true))
    }

    /// Refuses what is not what is stored under its name.
    fn check_same(&self, stored: &StudyRecord, wanted: &StudySpec) -> Result<(), CliError> {
        let spec = StudySpec::from_json(&stored.spec).map_err(|error| CliError::Other(error.into()))?;
        let mut found = differences(&spec, wanted);
        if wanted.fit.is_some() {
            // How a model is measured may change; that is another evaluation, and the same fit.
            found.retain(|difference| !difference.key.starts_with("evaluate."));
        }
        if found.is_empty() {
            return Ok(());
        }
        let lines: Vec<String> = found.iter().map(|difference| format!("  {difference}")).collect();
        let name = &stored.name;
        Err(CliError::Usage {
            message: format!(
                "the study `{name}` in {} is another one:\n{}",
                self.whereabouts(),
                lines.join("\n")
            ),
            help: Some(format!(
                "--name gives this one another name; the stored one: foldwise study show {name}{}",
                next::place(self.source)
            )),
        })
    }

    fn here(&self, planned: Planned, stored: Option<StudyRecord>) -> Result<(), CliError> {
        let Planned { spec, text, parent, model } = planned;
        let database = self.source.database();
        let program = Program::find().map_err(CliError::local)?;
        let new = match stored {
            Some(stored) => {
                run::check_data(&stored)?;
                None
            }
            None => {
                let sources = Sources::of(&database);
                let sources = match &model {
                    Some(model) => sources.with(model.clone()),
                    None => sources,
                };
                let study = prepare(&text, &[], &Locations::from_env(), &sources);
                let mut study = study.map_err(|error| unplaced(error, &spec.study.name))?;
                study.parent = parent.map(|parent| parent.id).or(study.parent);
                Some(study)
            }
        };
        let store = Store::open(&database)?;
        run::conduct(Run {
            store,
            database: &database,
            name: spec.study.name,
            new,
            model,
            program,
            workers: self.workers,
            again: AGAIN.into(),
        })
        .map(drop)
    }

    fn at_coordinator(
        &self,
        remote: Remote,
        planned: Planned,
        stored: Option<StudyRecord>,
    ) -> Result<(), CliError> {
        let Planned { spec, text, parent, model } = planned;
        let name = spec.study.name;
        match stored {
            Some(stored) if stored.state == StudyState::Paused => drop(remote.unpause(&name)?),
            Some(_) => {}
            None => {
                if let Some(model) = &model {
                    remote.put_model(model)?;
                }
                remote.create(text, Vec::new(), parent.map(|parent| parent.name))?;
            }
        }
        let look = Look { source: self.source, format: Format::Table, plain: self.workers.plain };
        watch::until_end(look, remote, &name).map(drop)
    }
}

/// An error of a study file that nobody wrote: it has no lines to be looked at.
fn unplaced(error: CreateError, name: &str) -> CliError {
    match error {
        CreateError::Spec(error) => {
            let error = foldwise_shared::spec::SpecError { line: None, ..error };
            CliError::usage(format!("the study `{name}`: {error}"))
        }
        error => CliError::Coordinator(error.into()),
    }
}
