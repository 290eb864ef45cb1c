//! What a person and a program read, pinned.

use std::collections::BTreeMap;

use foldwise_shared::decision::Decision;

use super::*;
use crate::cli::samples;

fn shown(answer: Answer<'_>, format: Format) -> String {
    let mut out = Vec::new();
    write(answer, format, &mut out).expect("a buffer takes everything");
    let text = String::from_utf8(out).expect("UTF-8");
    assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "one line break at the end: {text:?}");
    text
}

#[test]
fn studies() {
    let studies = [samples::study(), samples::fresh_study()];
    insta::assert_snapshot!("studies_table", shown(Answer::Studies(&studies), Format::Table));
    insta::assert_snapshot!("studies_csv", shown(Answer::Studies(&studies), Format::Csv));
}

#[test]
fn study() {
    insta::assert_snapshot!("study_table", shown(Answer::Study(&samples::study()), Format::Table));
    insta::assert_snapshot!("study_json", shown(Answer::Study(&samples::fresh_study()), Format::Json));
}

#[test]
fn trials() {
    let trials = samples::trials();
    insta::assert_snapshot!("trials_table", shown(Answer::Trials(&trials), Format::Table));
    insta::assert_snapshot!("trials_json", shown(Answer::Trials(&trials[2..4]), Format::Json));
    insta::assert_snapshot!("trials_csv", shown(Answer::Trials(&trials), Format::Csv));
}

#[test]
fn trial() {
    let (trials, decisions) = (samples::trials(), samples::decisions());
    insta::assert_snapshot!(
        "trial_table",
        shown(Answer::Trial(&trials[2], &decisions, &samples::attempts()), Format::Table)
    );
    let json = shown(Answer::Trial(&trials[2], &decisions, &samples::attempts()), Format::Json);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["folds"][0]["best_epoch"], 8);
    assert_eq!(json["decisions"][0]["threshold"], 0.061_25);
    assert_eq!(json["decisions"][1]["epoch"], serde_json::Value::Null);
}

#[test]
fn best() {
    let (study, trials) = (samples::study(), samples::trials());
    insta::assert_snapshot!("best_table", shown(Answer::Best(&study, &trials[0]), Format::Table));
    assert_eq!(
        shown(Answer::Best(&study, &trials[0]), Format::Json),
        shown(Answer::Trials(&trials[..1]), Format::Json).lines().map(|line| line.strip_prefix("  ")).fold(
            String::new(),
            |text, line| match line {
                Some(line) => text + line + "\n",
                None => text,
            }
        ),
        "the best trial alone is what it is in a list"
    );
}

#[test]
fn curve() {
    let curve = samples::curve();
    insta::assert_snapshot!("curve_table", shown(Answer::Curve(&curve), Format::Table));
    insta::assert_snapshot!("curve_json", shown(Answer::Curve(&curve[2..]), Format::Json));
    insta::assert_snapshot!("curve_csv", shown(Answer::Curve(&curve), Format::Csv));
}

#[test]
fn explanations() {
    let pruned = samples::explanation();
    insta::assert_snapshot!("explanation_table", shown(Answer::Explanation(&pruned), Format::Table));
    insta::assert_snapshot!("explanation_csv", shown(Answer::Explanation(&pruned), Format::Csv));
    let json: serde_json::Value =
        serde_json::from_str(&shown(Answer::Explanation(&pruned), Format::Json)).expect("JSON");
    assert_eq!(json["call"]["look"]["threshold"], 0.061_25);
    assert_eq!(json["call"]["peers"][7]["value"], serde_json::Value::Null);
    assert_eq!((&json["skipped"]["few-trials"], &json["stored"]["rule"]), (&3.into(), &"median".into()));

    let lived = samples::survivor(30);
    insta::assert_snapshot!("explanation_survivor_table", shown(Answer::Explanation(&lived), Format::Table));
    let (stored, decision) = (samples::decisions()[0], Decision { peers: 3, ..samples::decision() });
    let other = Explanation { stored: Some(DecisionRecord { decision, ..stored }), ..pruned.clone() };
    let table = shown(Answer::Explanation(&other), Format::Table);
    assert!(
        table.contains("3 peers at fold 1, epoch 2; what is computed again differs: which it should not"),
        "{table}"
    );
    let never = Explanation { call: None, looks: Vec::new(), stored: None, ..pruned };
    insta::assert_snapshot!("explanation_never_table", shown(Answer::Explanation(&never), Format::Table));
    let none = Explanation { pruner: r#"{"kind":"none"}"#.into(), skipped: BTreeMap::new(), ..never };
    let table = shown(Answer::Explanation(&none), Format::Table);
    assert!(table.ends_with("looks   none: this study prunes nobody\n"), "{table}");
}

#[test]
fn replays() {
    let both = samples::replays();
    insta::assert_snapshot!("replays_table", shown(Answer::Replays(&both), Format::Table));
    insta::assert_snapshot!("replays_csv", shown(Answer::Replays(&both), Format::Csv));
    let three = [both[0].clone(), both[1].clone(), both[1].clone()];
    let table = shown(Answer::Replays(&three), Format::Table);
    assert_eq!(table.lines().count(), 4, "side by side, whom each would have stopped has no room: {table}");
    let json: serde_json::Value =
        serde_json::from_str(&shown(Answer::Replays(&both), Format::Json)).expect("JSON");
    assert_eq!(json[1]["pruner"]["upper"], 0.07);
    assert_eq!((&json[1]["stopped"][0]["trial"], &json[1]["stopped"][0]["epoch"]), (&1.into(), &3.into()));
}

#[test]
fn workers() {
    let workers = samples::workers();
    insta::assert_snapshot!("workers_table", shown(Answer::Workers(&workers), Format::Table));
    insta::assert_snapshot!("workers_csv", shown(Answer::Workers(&workers), Format::Csv));
    let json: serde_json::Value =
        serde_json::from_str(&shown(Answer::Workers(&workers), Format::Json)).expect("JSON");
    assert_eq!((&json[0]["folds"][0]["epoch"], &json[3]["state"]), (&4.into(), &serde_json::Value::Null));
}

#[test]
fn what_a_study_cost() {
    let (study, ledger) = (samples::study(), samples::ledger());
    insta::assert_snapshot!("ledger_table", shown(Answer::Ledger(&ledger), Format::Table));
    insta::assert_snapshot!("ledger_csv", shown(Answer::Ledger(&ledger), Format::Csv));
    let json: serde_json::Value =
        serde_json::from_str(&shown(Answer::Ledger(&ledger), Format::Json)).expect("JSON");
    assert_eq!((&json["wasted"], &json["rows"][3]["cause"]), (&73.345.into(), &"lost".into()));
    let shown_study = shown(Answer::Shown(&study, &ledger), Format::Table);
    let line = shown_study.lines().find(|line| line.starts_with("device time")).expect("a line");
    assert_eq!(
        line.split_once("  ").expect("two columns").1.trim(),
        "1h 3m 10s used, 1m 13s of it wasted (repeated 1m 1s, lost 12.3s), 31.5s saved by pruning"
    );
}

#[test]
fn nothing_is_a_header_or_an_empty_list() {
    assert_eq!(shown(Answer::Trials(&[]), Format::Json), "[]\n");
    assert_eq!(
        shown(Answer::Trials(&[]), Format::Table),
        "trial  state  value  std  folds  epochs  finished  reason\n"
    );
    assert_eq!(
        shown(Answer::Trials(&[]), Format::Csv),
        "number,state,value,std,reason,created_at,finished_at,parent\n"
    );
}

#[test]
fn fetched_files() {
    let rows = [
        FetchedRow { dataset: "mnist".into(), path: "/d/mnist".into(), bytes: None, downloaded_from: None },
        FetchedRow {
            dataset: "mnist".into(),
            path: "/c/a.gz".into(),
            bytes: Some(9),
            downloaded_from: Some("http://m/a.gz".into()),
        },
    ];
    insta::assert_snapshot!("fetched_table", shown(Answer::Fetched(&rows), Format::Table));
    insta::assert_snapshot!("fetched_csv", shown(Answer::Fetched(&rows), Format::Csv));
}

#[test]
fn samplers() {
    let comparison = samples::comparison();
    insta::assert_snapshot!("search_table", shown(Answer::Search(&comparison), Format::Table));
    insta::assert_snapshot!("search_json", shown(Answer::Search(&comparison), Format::Json));
    insta::assert_snapshot!("search_csv", shown(Answer::Search(&comparison), Format::Csv));
    let timings = samples::timings();
    insta::assert_snapshot!("suggest_table", shown(Answer::Suggest(&timings), Format::Table));
    insta::assert_snapshot!("suggest_csv", shown(Answer::Suggest(&timings), Format::Csv));
}

#[test]
fn a_closed_pipe_is_seen_enough() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    // A few rows, and more than any buffer holds.
    let few = samples::trials();
    let many: Vec<_> = few.iter().cycle().take(5_000).cloned().collect();
    for format in [Format::Table, Format::Json, Format::Csv] {
        for trials in [&few, &many] {
            let error = write(Answer::Trials(trials), format, &mut Closed).expect_err("closed");
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe, "{format:?}");
        }
    }
}
