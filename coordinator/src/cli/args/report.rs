//! What can be written after `foldwise report`.

use std::path::PathBuf;

use clap::Args;

use super::SourceArgs;

/// `foldwise report`
#[derive(Debug, Args)]
#[command(after_long_help = "\
The folder holds index.html, which needs nothing else and no network, and each of its pictures as SVG and PNG with its numbers
as CSV. Of a search: history, parallel coordinates, slices, importance, contours, learning curves, what was pruned and why,
the workers' time; and the same for its fits, evaluations and transfers. Of a fit: losses, reconstructions, corrupted input,
codes, centroids, morphing. --with puts other fits beside it.
A folder that holds something else is left alone; an older report is replaced once the new one is whole.

Examples:
  foldwise report demo --db demo.db
  foldwise report fashion-tpe --coordinator http://head:7654 --out report
  foldwise report plain-fit --with denoiser-fit --with variational-fit")]
pub struct ReportPageArgs {
    /// The study.
    #[arg(value_name = "STUDY")]
    pub study: String,
    /// The folder to make. [default: STUDY-report]
    #[arg(long, value_name = "DIR", env = "FOLDWISE_REPORT_OUT")]
    pub out: Option<PathBuf>,
    /// A fit to show beside it; repeat it for more. In the variable: one a line.
    #[arg(long = "with", value_name = "STUDY", env = "FOLDWISE_REPORT_WITH", value_delimiter = '\n')]
    pub others: Vec<String>,
    /// Where to look.
    #[command(flatten)]
    pub source: SourceArgs,
}
