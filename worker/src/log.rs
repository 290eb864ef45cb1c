//! The log on standard error: lines for people, or an object of JSON a line for programs.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: an object a line.
    Json,
}

/// Whether everything on standard error is an object a line.
static JSON: AtomicBool = AtomicBool::new(false);

/// Starts it; `default` is what is logged where `RUST_LOG` says nothing.
pub fn start(default: &str, format: LogFormat) {
    JSON.store(format == LogFormat::Json, Ordering::Relaxed);
    let (filter, wrong) = match std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty()) {
        None => (EnvFilter::new(default), None),
        Some(text) => match EnvFilter::try_new(&text) {
            Ok(filter) => (filter, None),
            Err(error) => (EnvFilter::new(default), Some(error)),
        },
    };
    let colors =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(colors)
        .with_target(false);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().with_current_span(false).init(),
    }
    if let Some(error) = wrong {
        tracing::warn!("RUST_LOG is ignored: {error}");
    }
}

/// Says why the worker ends, whatever the filter.
pub fn fail(message: &str) {
    if JSON.load(Ordering::Relaxed) {
        // The field has all the escapes that it needs.
        let message = serde_json::Value::from(message);
        eprintln!("{{\"level\":\"ERROR\",\"fields\":{{\"message\":{message}}}}}");
    } else {
        eprintln!("foldwise-worker: {message}");
    }
}
