use std::collections::BTreeMap;

use foldwise_shared::decision::Decision;
use foldwise_shared::ids::{Attempt, Epoch, FoldIndex, Millis, StudyId};
use foldwise_shared::ledger::Ledger;
use foldwise_shared::record::{Best, FoldRecord};
use foldwise_shared::spec::parse;
use foldwise_shared::state::{AttemptState, FailureClass, Origin, Rule, StudyState};
use foldwise_shared::value::ParamValue;

use super::*;
use crate::report::Picture;

const FILE: &str = r#"
version = 1
study = { name = "made", direction = "minimize" }
data = { dataset = "mnist", folds = 2 }
model = { network = "lab" }
train = { epochs = 4 }
pruner = { kind = "median" }
budget = { trials = 100 }
[space]
latent_dim = { int = [2, 20] }
learning_rate = { float = [1e-4, 1e-1], log = true }
dropout = { choice = [0.0, 0.25] }
"#;

/// `count` trials: value = (latent - 11)^2 / 1000 + 0.01 with a little of the learning rate; every tenth is pruned, every
/// 23rd failed.
fn made(count: u32, direction: &str) -> Search {
    let spec = parse(FILE, &[format!("study.direction={direction}")]).expect("a study file");
    let mut search = Search {
        study: StudyRecord {
            parent: None,
            id: StudyId(1),
            name: "made".into(),
            state: StudyState::Ended,
            message: None,
            direction: spec.study.direction,
            spec: spec.to_json(),
            spec_text: FILE.into(),
            data_digest: String::new(),
            splits_digest: String::new(),
            images: 60_000,
            height: 28,
            width: 28,
            created_at: Millis(0),
            running_ms: 90_000,
            trials: BTreeMap::new(),
            epochs: 0,
            best: None,
        },
        spec,
        trials: Vec::new(),
        decisions: Vec::new(),
        attempts: Vec::new(),
        curves: Vec::new(),
        ledger: Ledger::default(),
        command: "foldwise report made --db a.db".into(),
        prefix: String::new(),
    };
    for number in 0..count {
        add(&mut search, number);
    }
    let done = search.done();
    let is_better = |a: f64, b: f64| search.study.direction.is_better(a, b);
    let best =
        done.iter().copied().reduce(|best, next| if is_better(next.value, best.value) { next } else { best });
    search.study.best = best.map(|best| Best { number: best.trial.number, value: best.value });
    search
}

fn add(search: &mut Search, number: u32) {
    let latent = 2 + (number * 7) % 19;
    let rate = 1e-4 * 1000_f64.powf(f64::from((number * 13) % 50) / 50.0);
    let params = BTreeMap::from([
        ("latent_dim".to_owned(), ParamValue::Int(latent.into())),
        ("learning_rate".to_owned(), ParamValue::Float(rate)),
        ("dropout".to_owned(), ParamValue::Float(if number.is_multiple_of(2) { 0.0 } else { 0.25 })),
    ]);
    let value = (f64::from(latent) - 11.0).powi(2) / 1000.0 + 0.01 + rate / 100.0;
    let state = match number {
        number if number % 23 == 22 => TrialState::Failed,
        number if number % 10 == 9 => TrialState::Pruned,
        _ => TrialState::Complete,
    };
    *search.study.trials.entry(state).or_default() += 1;
    let is_complete = state == TrialState::Complete;
    let at = i64::from(number) * 1_000;
    let trial = TrialNumber(number);
    let folds = (0..2).map(|fold| FoldRecord {
        fold: FoldIndex(fold),
        state,
        value: is_complete.then_some(value),
        best_epoch: is_complete.then_some(Epoch(4)),
        epochs: if is_complete { 4 } else { 2 },
        attempts: 1,
    });
    search.trials.push(TrialRecord {
        number: trial,
        state,
        value: is_complete.then_some(value),
        std: is_complete.then_some(0.001),
        origins: params.keys().map(|name| (name.clone(), Origin::Sampled)).collect(),
        params,
        reason: Some("over".into()),
        created_at: Millis(at),
        finished_at: Some(Millis(at + 900)),
        folds: folds.collect(),
        parent: None,
    });
    for fold in (0..2).map(FoldIndex) {
        let (ended, failure) = match state {
            TrialState::Failed => (AttemptState::Failed, Some(FailureClass::Diverged)),
            TrialState::Pruned => (AttemptState::Stopped, None),
            _ => (AttemptState::Complete, None),
        };
        let attempt = AttemptRecord {
            fold,
            attempt: Attempt(1),
            state: ended,
            failure,
            message: None,
            worker: format!("gpu{}", fold.0),
            device: "cuda:0".into(),
            start_epoch: Epoch(0),
            epochs: 2,
            started_at: Millis(at),
            ended_at: Some(Millis(at + 900)),
        };
        search.attempts.push((trial, attempt));
        for epoch in 1..=(if is_complete { 4 } else { 2 }) {
            let loss = Some(value + 0.1 / f64::from(epoch));
            search.curves.push(EpochRecord {
                metrics: Default::default(),
                trial,
                fold,
                attempt: Attempt(1),
                epoch: Epoch(epoch),
                train_loss: loss,
                validation_loss: loss,
                learning_rate: None,
                seconds: Some(0.2),
                diverged: false,
                at: Millis(at),
            });
        }
    }
    if state == TrialState::Pruned {
        let decision = Decision::new(Rule::Median, Some(value + 0.05), Some(0.04));
        let epoch = Some(Epoch(2));
        search.decisions.push(DecisionRecord { trial, fold: FoldIndex(0), epoch, decision, event_seq: 1 });
    }
}

fn pictures(search: &Search) -> BTreeMap<String, Picture> {
    let sections = search.sections();
    sections
        .into_iter()
        .flat_map(|section| section.pictures)
        .map(|picture| (picture.name.clone(), picture))
        .collect()
}

fn csv(picture: &Picture) -> String {
    String::from_utf8(picture.table.csv().expect("CSV")).expect("text")
}

fn count(text: &str, part: &str) -> usize {
    text.matches(part).count()
}

#[test]
fn a_search_has_its_pictures_with_their_numbers() {
    let search = made(60, "minimize");
    let pictures = pictures(&search);
    let names: Vec<&str> = pictures.keys().map(String::as_str).collect();
    let expected = [
        "contour-latent-dim-learning-rate",
        "contours",
        "curves",
        "history",
        "importance",
        "parallel",
        "pruned",
        "slices",
        "timeline",
    ];
    assert_eq!(names, expected);

    let history = &pictures["history"];
    let svg = history.canvas.file();
    // The points, and one in the legend.
    assert_eq!(count(&svg, "fill=\"#4477aa\""), 52 + 1);
    assert!(
        svg.contains("complete (52)") && svg.contains("pruned (6)") && svg.contains("failed (2)"),
        "{svg}"
    );
    let text = csv(history);
    assert_eq!(text.lines().next(), Some("trial,state,value,std,best_so_far,judged"));
    assert_eq!(text.lines().count(), 61);
    let best = search.study.best.expect("a best trial");
    assert!(text.lines().last().expect("a row").contains(&best.value.to_string()), "{text}");

    let importance = csv(&pictures["importance"]);
    assert!(importance.lines().nth(1).expect("a row").starts_with("latent_dim,0.9"), "{importance}");
    assert_eq!(csv(&pictures["timeline"]).lines().count(), 121);
    let pruned = csv(&pictures["pruned"]);
    assert!(pruned.contains("median: 0."), "{pruned}");
    assert!(pictures["parallel"].canvas.file().contains("learning_rate"));
    // The logarithmic axis has its decades.
    for tick in ["1e\u{2212}4", "0.001", "0.01", "0.1"] {
        assert!(pictures["slices"].canvas.file().contains(&format!(">{tick}<")), "{tick}");
    }
}

#[test]
fn the_head_says_what_matters() {
    let mut search = made(30, "maximize");
    search.prefix = "made-".into();
    let sections = search.sections();
    let facts: BTreeMap<&str, &str> =
        sections[0].facts.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(facts["Trials"], "30: 26 complete, 3 pruned, 1 failed");
    assert!(facts["Budget"].starts_with("30 of 100 trials; "), "{}", facts["Budget"]);
    let best = search.study.best.expect("a best trial").number;
    assert!(
        facts["Best trial"].starts_with(&format!("{best}, with the value 0.09")),
        "{}",
        facts["Best trial"]
    );
    assert_eq!(sections[0].commands, ["foldwise report made --db a.db"]);
    assert!(
        sections
            .iter()
            .flat_map(|section| &section.pictures)
            .all(|picture| picture.name.starts_with("made-"))
    );
}

#[test]
fn few_trials_are_no_trouble() {
    for count in 1..8 {
        let search = made(count, "minimize");
        let pictures = pictures(&search);
        assert!(pictures.contains_key("history"), "{count}");
        assert_eq!(pictures.contains_key("importance"), count >= 4, "{count}");
        for picture in pictures.values() {
            let svg = picture.canvas.file();
            for wrong in ["\"NaN", ">NaN", " NaN", "\"inf", ">inf", ">\u{2212}inf"] {
                assert!(!svg.contains(wrong), "{}: {svg}", picture.name);
            }
        }
    }
}

#[test]
fn a_page_of_many_trials_stays_small() {
    let mut search = made(4_000, "minimize");
    let drawn = drawn_trials(&search.trials, search.study.direction);
    assert_eq!(drawn.len(), 150);
    assert!(drawn.contains(&search.study.best.expect("a best trial").number));
    search.curves.retain(|epoch| drawn.contains(&epoch.trial));
    for (name, picture) in pictures(&search) {
        let size = picture.canvas.file().len();
        assert!(size < 600_000, "{name} has {size} bytes");
    }
}
