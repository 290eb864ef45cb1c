//! `foldwise worker`: list, drain and undrain.

use foldwise_shared::fleet::{WorkerRecord, WorkerState};

use super::args::{QueryArgs, WorkerCommand, handover};
use super::error::CliError;
use super::remote::Remote;
use super::render::{self, Answer, Format};
use super::source::Source;
use super::{next, say};

/// Does what a `foldwise worker` command says.
///
/// # Errors
/// An unknown worker, or a database or coordinator that does not answer.
pub fn execute(command: &WorkerCommand) -> Result<(), CliError> {
    match command {
        WorkerCommand::List { states, query } => list(states, query),
        WorkerCommand::Drain { name, now, after_folds, query } => {
            let workers = server(query)?.drain_worker(name, handover(*now, *after_folds))?;
            print(&workers, query)?;
            let place = next::place(&query.source);
            say(&format!("worker {name} gets no more folds until it is undrained"));
            next::show(&[next::workers(&place), next::undrain(&place, name)]);
            Ok(())
        }
        WorkerCommand::Undrain { name, query } => {
            let workers = server(query)?.undrain_worker(name)?;
            print(&workers, query)?;
            say(&format!("worker {name} gets folds again"));
            next::show(&[next::workers(&next::place(&query.source))]);
            Ok(())
        }
    }
}

fn list(states: &[WorkerState], query: &QueryArgs) -> Result<(), CliError> {
    let source = Source::open(&query.source)?;
    let mut workers = source.workers()?;
    let on_file = matches!(source, Source::File(_));
    if on_file && !states.is_empty() {
        return Err(CliError::Usage {
            message: "a database does not know in which state a worker is".into(),
            help: Some("ask its coordinator: --coordinator URL".into()),
        });
    }
    workers.retain(|worker| states.is_empty() || worker.state.is_some_and(|state| states.contains(&state)));
    print(&workers, query)?;
    if on_file && query.output.format == Format::Table {
        say("\nwho is connected only a coordinator knows: --coordinator URL");
    }
    Ok(())
}

fn print(workers: &[WorkerRecord], query: &QueryArgs) -> Result<(), CliError> {
    render::print(Answer::Workers(workers), query.output.format)
}

fn server(query: &QueryArgs) -> Result<Remote, CliError> {
    Remote::named(&query.source)?.ok_or_else(|| CliError::Usage {
        message: "workers are drained by the coordinator that gives them folds".into(),
        help: Some("name it: --coordinator URL, or FOLDWISE_COORDINATOR".into()),
    })
}
