//! How samplers and coordinators did, as tables and as CSV.

use std::io::Write;

use csv::Writer;
use foldwise_shared::value::short;

use super::csv::optional;
use super::table::{Grid, Pairs, text};
use crate::bench::Quartiles;
use crate::bench::load::Figures;
use crate::bench::restart::Restarted;
use crate::bench::search::{Cell, Comparison, Standing};
use crate::bench::suggest::Timing;

/// A row for each problem, number of trials and sampler; below them the samplers over all of these.
pub(super) fn search_table(comparison: &Comparison) -> String {
    let mut grid = Grid::new(&[
        "<problem",
        ">at a time",
        ">trials",
        "<sampler",
        "<regret",
        "<Optuna tpe",
        "<Optuna classic",
        ">ratio",
        ">p worse",
    ]);
    for cell in &comparison.cells {
        let Cell { problem, parallel, trials, sampler, .. } = cell;
        let ratio = cell.versus.as_ref().and_then(|versus| versus.ratio);
        grid.row([
            problem.clone(),
            parallel.to_string(),
            trials.to_string(),
            sampler.clone(),
            quartiles(&cell.regret),
            text(cell.optuna_tpe.as_ref().map(quartiles)),
            text(cell.optuna_tpe_classic.as_ref().map(quartiles)),
            text(ratio.map(two_digits)),
            text(cell.versus.as_ref().map(|versus| format!("{:.3}", versus.p_worse))),
        ]);
    }
    format!("{}\n\n{}", grid.finish(), standings(&comparison.samplers))
}

fn standings(samplers: &[Standing]) -> String {
    let mut grid =
        Grid::new(&["<sampler", ">mean rank", ">compared", ">worse (p < 0.05)", ">20 % less or better"]);
    for Standing { sampler, mean_rank, compared, worse, less } in samplers {
        let of = |count: &usize| text((*compared > 0).then_some(count));
        let rank = text(mean_rank.map(|rank| format!("{rank:.2}")));
        grid.row([sampler.clone(), rank, of(compared), of(worse), of(less)]);
    }
    grid.finish()
}

fn quartiles(Quartiles { q1, median, q3 }: &Quartiles) -> String {
    let [q1, median, q3] = [q1, median, q3].map(|number| three_digits(*number));
    format!("{median} ({q1} to {q3})")
}

/// Regrets are of every size, and their third digit is chance.
fn three_digits(number: f64) -> String {
    short(format!("{number:.2e}").parse().unwrap_or(number))
}

fn two_digits(number: f64) -> String {
    short(format!("{number:.1e}").parse().unwrap_or(number))
}

pub(super) fn search_csv<W: Write>(comparison: &Comparison, csv: &mut Writer<W>) -> csv::Result<()> {
    let mut header: Vec<String> = ["problem", "parallel", "trials", "sampler"].map(str::to_owned).into();
    for name in ["regret", "optuna_tpe", "optuna_tpe_classic"] {
        header.extend(["q1", "median", "q3"].map(|quartile| format!("{name}.{quartile}")));
    }
    header.extend(["reference", "ratio", "p_worse"].map(str::to_owned));
    csv.write_record(&header)?;
    for cell in &comparison.cells {
        let Cell { problem, parallel, trials, sampler, .. } = cell;
        let mut row = vec![problem.clone(), parallel.to_string(), trials.to_string(), sampler.clone()];
        for quartiles in [Some(cell.regret), cell.optuna_tpe, cell.optuna_tpe_classic] {
            let number = |of: fn(&Quartiles) -> f64| optional(&quartiles.as_ref().map(of));
            row.extend([number(|all| all.q1), number(|all| all.median), number(|all| all.q3)]);
        }
        let versus = cell.versus.as_ref();
        row.extend([
            optional(&versus.map(|versus| &versus.reference)),
            optional(&versus.and_then(|versus| versus.ratio)),
            optional(&versus.map(|versus| versus.p_worse)),
        ]);
        csv.write_record(&row)?;
    }
    Ok(())
}

pub(super) fn suggest_table(timings: &[Timing]) -> String {
    let mut grid = Grid::new(&[
        "<sampler",
        ">trials",
        ">running",
        ">params",
        ">suggestions",
        ">median ms",
        ">p99 ms",
        ">memory MiB",
    ]);
    for row in timings {
        grid.row([
            row.sampler.clone(),
            row.trials.to_string(),
            row.running.to_string(),
            row.params.to_string(),
            row.suggestions.to_string(),
            three_digits(row.median_ms),
            three_digits(row.p99_ms),
            text(row.memory_mib.map(|memory| format!("{memory:.0}"))),
        ]);
    }
    grid.finish()
}

pub(super) fn load_table(figures: &Figures) -> String {
    let mut pairs = Pairs::new();
    let Figures { workers, connected_seconds, seconds, reports, .. } = figures;
    pairs.row("workers", format!("{workers}, connected within {connected_seconds:.2} s"));
    pairs.row("measured", format!("{seconds:.1} s"));
    pairs.row("reports", format!("{reports}, {:.0} durable epochs a second", figures.reports_per_second));
    if let (Some(median), Some(p99), Some(max)) = (figures.median_ms, figures.p99_ms, figures.max_ms) {
        let times = format!("median {median:.1} ms, p99 {p99:.1} ms, longest {max:.1} ms");
        pairs.row("acknowledged after", times);
    }
    pairs.row("folds", format!("{} ended, {} revoked", figures.folds, figures.revoked));
    if let Some(cpu) = figures.cpu_seconds {
        pairs.row("coordinator's CPU", format!("{cpu:.2} s, {:.3} cores", cpu / seconds));
    }
    if let (Some(begin), Some(end), Some(peak)) =
        (figures.memory_begin_mib, figures.memory_end_mib, figures.memory_peak_mib)
    {
        pairs.row("its memory", format!("{begin:.0} MiB, then {end:.0} MiB, at most {peak:.0} MiB"));
    }
    pairs.row(
        "checked",
        format!("{} acknowledged, {} in the database", figures.acknowledged, figures.recorded),
    );
    pairs.finish()
}

pub(super) fn restart_table(rounds: &[Restarted]) -> String {
    let mut grid = Grid::new(&[
        ">round",
        ">trials",
        ">epochs",
        ">database MiB",
        ">listening s",
        ">first lease s",
        ">CPU s",
        ">memory MiB",
        ">at most MiB",
    ]);
    for row in rounds {
        let whole = |number: Option<f64>| text(number.map(|number| format!("{number:.0}")));
        grid.row([
            row.round.to_string(),
            row.trials.to_string(),
            row.rows.to_string(),
            format!("{:.0}", row.database_mib),
            format!("{:.2}", row.listening_seconds),
            format!("{:.2}", row.lease_seconds),
            text(row.cpu_seconds.map(|seconds| format!("{seconds:.2}"))),
            whole(row.memory_mib),
            whole(row.memory_peak_mib),
        ]);
    }
    grid.finish()
}
