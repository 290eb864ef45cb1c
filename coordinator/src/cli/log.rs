//! The log on standard error, and what else is said there: lines for people, or an object of JSON a line for programs.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use clap::ValueEnum;
use serde_json::json;
use tracing_subscriber::EnvFilter;

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: an object a line.
    Json,
}

/// Whether everything on standard error is an object a line: one format for the process, like its standard error.
static JSON: AtomicBool = AtomicBool::new(false);

/// The log goes to standard error, as `RUST_LOG` says; warnings only without it, everything of note with `--verbose`.
pub(super) fn start(verbose: bool, format: LogFormat) {
    JSON.store(format == LogFormat::Json, Ordering::Relaxed);
    let default = if verbose { "info" } else { "warn" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let mut log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if !std::io::stderr().is_terminal() {
        log = log.with_ansi(false);
    }
    // A second subscriber is refused; the first one stays.
    let _ = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().with_current_span(false).try_init(),
    };
}

/// Writes a line to standard error; one that is closed is no reason to fail.
pub(super) fn say(text: &str) {
    if JSON.load(Ordering::Relaxed) {
        write("INFO", text);
    } else {
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}

/// Writes an error as an object, if that is the format; says whether it did.
pub(super) fn fail(text: &str) -> bool {
    let json = JSON.load(Ordering::Relaxed);
    if json {
        write("ERROR", text);
    }
    json
}

/// The same fields as a line of the log has.
fn write(level: &str, text: &str) {
    let timestamp = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
    let line = json!({ "timestamp": timestamp, "level": level, "fields": { "message": text }, "target": "foldwise" });
    let _ = writeln!(std::io::stderr(), "{line}");
}
