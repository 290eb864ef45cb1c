//! How a command can fail: what is said about it, and with which exit code.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use foldwise_data::DataError;
use foldwise_shared::spec::SpecError;

use super::log;
use crate::coordinator::{CoordinatorError, CreateError};
use crate::hindsight::HindsightError;
use crate::local::LocalError;
use crate::store::StoreError;

/// Why a command ended without its result.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// What was written cannot work.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do about it.
        help: Option<String>,
    },
    /// Something happened.
    #[error("{message}")]
    Happened {
        /// What.
        message: String,
        /// What to do about it.
        help: Option<String>,
    },
    /// A study file, or a setting laid over it.
    #[error("{}", spec_message(file, error))]
    Spec {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        error: SpecError,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A data set.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The coordinator, here in this process.
    #[error(transparent)]
    Coordinator(#[from] CoordinatorError),
    /// The answer could not be written.
    #[error("failed to write the answer: {0}")]
    Output(io::Error),
    /// A person interrupted a run.
    #[error("interrupted")]
    Interrupted {
        /// How to go on.
        help: String,
    },
    /// Anything else that happened, with its causes.
    #[error("{0:#}")]
    Other(anyhow::Error),
}

impl CliError {
    /// What was written cannot work, and there is nothing to add.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), help: None }
    }

    /// A study file that cannot become a study.
    pub fn create(file: &Path, error: CreateError) -> Self {
        match error {
            CreateError::Spec(error) => Self::Spec { file: file.to_owned(), error },
            error if error.is_user_error() => Self::usage(format!("{}: {error}", file.display())),
            error => Self::Coordinator(error.into()),
        }
    }

    /// No worker can be started here.
    pub fn local(error: LocalError) -> Self {
        Self::Happened { message: error.to_string(), help: None }
    }

    /// Writes the message and gives the exit code: 2 for what was written, 1 for what happened, 130 for an
    /// interruption, and 0 for a reader that has seen enough (`foldwise ... | head`).
    pub fn report(&self, stderr: &mut dyn Write) -> ExitCode {
        let code = self.code();
        if code != 0 {
            let mut text = Vec::new();
            // If standard error is gone as well, the exit code has to do.
            let _ = self.write(&mut text);
            if !log::fail(String::from_utf8_lossy(&text).trim_end()) {
                let _ = stderr.write_all(&text);
            }
        }
        ExitCode::from(code)
    }

    fn write(&self, stderr: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Interrupted { .. } => writeln!(stderr, "{self}")?,
            _ => {
                let said = self.to_string();
                write!(stderr, "error: {said}")?;
                let mut cause = std::error::Error::source(self);
                while let Some(inner) = cause {
                    // Some messages have their cause in them already.
                    if !said.contains(&inner.to_string()) {
                        write!(stderr, ": {inner}")?;
                    }
                    cause = inner.source();
                }
                writeln!(stderr)?;
            }
        }
        match self {
            Self::Usage { help: Some(help), .. }
            | Self::Happened { help: Some(help), .. }
            | Self::Interrupted { help } => writeln!(stderr, "help: {help}"),
            _ => Ok(()),
        }
    }

    fn code(&self) -> u8 {
        match self {
            Self::Usage { .. } | Self::Spec { .. } => 2,
            Self::Store(error) | Self::Coordinator(CoordinatorError::Store(error))
                if error.is_user_error() =>
            {
                2
            }
            Self::Data(error) if error.is_user_error() => 2,
            Self::Coordinator(CoordinatorError::Create(error)) if error.is_user_error() => 2,
            Self::Coordinator(
                CoordinatorError::NoStudy { .. }
                | CoordinatorError::NoWorker { .. }
                | CoordinatorError::NameTaken(_)
                | CoordinatorError::Ended(_),
            ) => 2,
            Self::Coordinator(CoordinatorError::Refused(refusal)) if refusal.kind.is_user_error() => 2,
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Interrupted { .. } => 130,
            Self::Happened { .. }
            | Self::Store(_)
            | Self::Data(_)
            | Self::Coordinator(_)
            | Self::Output(_)
            | Self::Other(_) => 1,
        }
    }
}

impl From<HindsightError> for CliError {
    fn from(error: HindsightError) -> Self {
        match error {
            HindsightError::Store(error) => Self::Store(error),
            error @ HindsightError::Pruner { .. } => Self::usage(error.to_string()),
            error @ HindsightError::Spec(_) => Self::Happened { message: error.to_string(), help: None },
        }
    }
}

/// What the system refuses, outside of answers.
impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        Self::Other(error.into())
    }
}

/// An error that passed through `anyhow` keeps its kind, and so its exit code, if nothing was put around it.
impl From<anyhow::Error> for CliError {
    fn from(error: anyhow::Error) -> Self {
        error
            .downcast::<CliError>()
            .or_else(|error| error.downcast::<StoreError>().map(Self::Store))
            .or_else(|error| error.downcast::<CoordinatorError>().map(Self::Coordinator))
            .or_else(|error| error.downcast::<CreateError>().map(|error| Self::Coordinator(error.into())))
            .or_else(|error| error.downcast::<DataError>().map(Self::Data))
            .unwrap_or_else(Self::Other)
    }
}

fn spec_message(file: &Path, error: &SpecError) -> String {
    let file = file.display();
    match (&error.set, error.line) {
        (None, Some(line)) => {
            let unplaced = SpecError { line: None, ..error.clone() };
            format!("{file}:{line}: {unplaced}")
        }
        (None, None) => format!("{file}: {error}"),
        (Some(_), _) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(error: &CliError) -> (String, u8) {
        let mut text = Vec::new();
        error.report(&mut text);
        (String::from_utf8(text).expect("UTF-8"), error.code())
    }

    #[test]
    fn a_study_file_is_named_with_its_line() {
        let error = foldwise_shared::spec::parse("version = 1\nbudgt = 3\n", &[]).expect_err("wrong");
        let (text, code) = shown(&CliError::Spec { file: "a/b.toml".into(), error });
        assert_eq!(code, 2);
        assert!(text.starts_with("error: a/b.toml:2: budgt: unknown key; did you mean `budget`?"), "{text}");
    }

    #[test]
    fn a_setting_is_named_in_place_of_the_file() {
        let error =
            foldwise_shared::spec::parse("version = 1\n", &["budgt=3".to_owned()]).expect_err("wrong");
        let (text, _) = shown(&CliError::Spec { file: "b.toml".into(), error });
        assert!(text.starts_with("error: --set budgt=3: budgt: unknown key"), "{text}");
    }

    #[test]
    fn codes_and_remedies() {
        let help = |text: &str| Some(text.to_owned());
        let cases = [
            (CliError::usage("no"), "error: no\n", 2),
            (CliError::Happened { message: "gone".into(), help: help("try") }, "error: gone\nhelp: try\n", 1),
            (CliError::Interrupted { help: "resume".into() }, "interrupted\nhelp: resume\n", 130),
            (CliError::Output(io::ErrorKind::BrokenPipe.into()), "", 0),
            (CliError::Other(anyhow::anyhow!("inner").context("outer")), "error: outer: inner\n", 1),
        ];
        for (error, text, code) in cases {
            assert_eq!(shown(&error), (text.to_owned(), code));
        }
    }

    #[test]
    fn a_kind_survives_anyhow() {
        let error = CliError::from(anyhow::Error::from(CliError::usage("no")));
        assert!(matches!(error, CliError::Usage { .. }));
        let error = CliError::from(anyhow::Error::from(DataError::NotFetchable { given: "x".into() }));
        assert_eq!(error.code(), 2);
        assert_eq!(CliError::from(anyhow::anyhow!("x")).code(), 1);
    }
}
