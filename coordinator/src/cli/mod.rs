//! The command line of `foldwise`: one file a command. Each reads its arguments, asks the store or a coordinator,
//! and hands records to [`render`], the only place that writes to standard output.

mod args;
mod bench;
mod best;
mod certs;
mod curve;
mod data;
mod error;
mod evaluate;
mod export;
mod external;
mod fit;
mod gate;
mod living;
mod log;
mod next;
mod remote;
mod render;
mod replay;
mod report;
mod source;
mod study;
mod trial;
mod watch;
mod worker;

pub mod live;
pub mod run;
pub mod serve;
mod signals;
pub mod summary;

#[cfg(test)]
mod documents;
#[cfg(test)]
mod samples;

pub use self::args::{
    Cli, DatabaseArgs, Device, GateArgs, ResumeArgs, RunArgs, ServeArgs, TlsArgs, TokenArgs, WorkersArgs,
};
pub use self::error::CliError;
pub use self::source::unknown_study;
pub use self::study::read_file;

use self::args::Command;

/// Does what a command line says.
///
/// # Errors
/// Whatever kept it from its result; [`CliError::report`] has the words and the exit code.
pub fn execute(cli: Cli) -> Result<(), CliError> {
    let Cli { verbose, log, command } = cli;
    log::start(verbose, log);
    match command {
        Command::Run(args) => run::run(args),
        Command::Resume(args) => run::resume(args),
        Command::Fit(args) => fit::execute(&args),
        Command::Evaluate(args) => evaluate::execute(&args),
        Command::Serve(args) => serve::serve(args),
        Command::Study(command) => study::execute(&command),
        Command::Trial(command) => trial::execute(&command),
        Command::Worker(command) => worker::execute(&command),
        Command::Watch(args) => watch::execute(&args),
        Command::Best(args) => best::execute(&args),
        Command::Curve(args) => curve::execute(&args),
        Command::Replay(args) => replay::execute(&args),
        Command::Report(args) => report::execute(&args),
        Command::Schema => schema(),
        Command::Data(command) => data::execute(&command),
        Command::Certs(args) => certs::execute(&args),
        Command::Bench(command) => bench::execute(command),
    }
}

fn schema() -> Result<(), CliError> {
    render::to_stdout(|out| {
        serde_json::to_writer_pretty(&mut *out, &foldwise_shared::spec::schema())?;
        writeln!(out)
    })
}

/// Tells a person something on standard error, in the format of the log.
fn say(text: &str) {
    log::say(text);
}
