//! The binary `foldwise`: turns the result of a command into an exit code.

use std::process::ExitCode;

use foldwise_coordinator::cli;

fn main() -> ExitCode {
    match cli::execute(cli::Cli::read()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(&mut std::io::stderr().lock()),
    }
}
