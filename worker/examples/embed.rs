//! Lays codes out in the plane and tells what it took, for `deploy/bench/tsne.py`, which holds it against scikit-learn.
//!
//! `embed CODES COLUMNS PERPLEXITY POINTS` reads 32-bit floats (little-endian), `COLUMNS` a code, and writes two a code.

use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::time::Instant;

use foldwise_worker::embed::{Codes, TsneSettings, tsne};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [codes, columns, perplexity, points] = &args[..] else {
        return Err("usage: embed CODES COLUMNS PERPLEXITY POINTS".into());
    };
    let bytes = fs::read(codes)?;
    let (floats, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(format!("{codes} has {} bytes, which are no 32-bit floats", bytes.len()).into());
    }
    let values: Vec<f32> = floats.iter().map(|float| f32::from_le_bytes(*float)).collect();
    let columns: usize = columns.parse()?;
    let codes = Codes::new(&values, values.len().checked_div(columns).unwrap_or(0), columns)?;
    let settings = TsneSettings { perplexity: perplexity.parse()?, seed: 0 };

    let (started, cpu) = (Instant::now(), cpu_seconds());
    let found = tsne(codes, settings, &mut |_| ControlFlow::Continue(()))?.ok_or("stopped")?;
    let seconds = started.elapsed().as_secs_f64();
    let result = json!({
        "seconds": seconds,
        "cpu_seconds": cpu_seconds() - cpu,
        "kl_divergence": found.kl_divergence,
    });
    let flat = found.points.as_flattened().iter();
    fs::write(points, flat.flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())?;
    writeln!(io::stdout(), "{result}")?;
    Ok(())
}

/// What this process has taken of a processor.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
