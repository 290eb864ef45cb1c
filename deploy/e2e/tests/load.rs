//! A coordinator under many workers, and a restart on a database that was filled.

use foldwise_e2e::Scene;

#[test]
fn every_report_of_many_workers_is_recorded() {
    let scene = Scene::new();
    let ended = scene.foldwise("bench load --workers 20 --seconds 2 -o json").expect_code(0);
    let load = ended.json();
    let number = |name: &str| load[name].as_f64().unwrap_or_else(|| panic!("{name}: {load}"));
    assert_eq!(number("workers"), 20.0);
    assert!(number("reports") > 100.0 && number("acknowledged") >= number("reports"), "{load}");
    assert_eq!(number("acknowledged"), number("recorded"));
    assert_eq!(number("revoked"), 0.0);
    assert!(0.0 < number("median_ms") && number("median_ms") <= number("p99_ms"), "{load}");
    assert!(number("p99_ms") <= number("max_ms"), "{load}");
    assert!(number("cpu_seconds") > 0.0 && number("memory_end_mib") <= number("memory_peak_mib"), "{load}");
    assert_eq!(load["samples"].as_array().map(Vec::len), Some(2), "{load}");
    assert_eq!(std::fs::read_dir(scene.path(".")).expect("the folder").count(), 0, "nothing is left behind");
}

#[test]
fn a_rate_is_kept_at_a_coordinator_that_is_there() {
    let scene = Scene::new();
    let server = scene.serve("--db load.db");
    let words = "bench load --workers 10 --seconds 2 --reports-per-second 50 -o json";
    let load = scene.foldwise(&format!("{words} --coordinator {}", server.url)).expect_code(0).json();
    let reports = load["reports_per_second"].as_f64().expect("a rate");
    assert!((40.0..60.0).contains(&reports), "{load}");
    assert_eq!(load["cpu_seconds"], serde_json::Value::Null, "it is not ours to look at: {load}");
    let database = scene.database("load.db");
    assert_eq!(Some(database.number("SELECT count(*) FROM epoch")), load["acknowledged"].as_i64());
    // Nobody else is to work on it.
    assert_eq!(database.number("SELECT count(*) FROM study WHERE state IN ('running', 'paused')"), 0);
}

#[test]
fn idle_workers_are_connected_and_get_nothing() {
    let scene = Scene::new();
    let load = scene.foldwise("bench load --workers 20 --seconds 1 --idle -o json").expect_code(0).json();
    assert_eq!((&load["workers"], &load["acknowledged"]), (&20.into(), &0.into()), "{load}");
}

#[test]
fn what_is_wrong_is_said() {
    let scene = Scene::new();
    scene
        .foldwise("bench load --workers 2 --seconds 1 --coordinator http://127.0.0.1:9")
        .expect_code(1)
        .expect_stderr(&["nobody answers at http://127.0.0.1:9"]);
    scene
        .foldwise("bench load --workers 2 --seconds 1 --set budget.trils=1")
        .expect_code(1)
        .expect_stderr(&["budget.trils", "did you mean `trials`"]);
    scene
        .foldwise("bench restart --trials 3 --set budget.trils=1")
        .expect_code(2)
        .expect_stderr(&["budget.trils"]);
    scene.foldwise("bench load --db-folder nowhere").expect_code(1).expect_stderr(&["nowhere"]);
}

#[test]
fn a_restart_leads_to_a_lease() {
    let scene = Scene::new();
    let words = "bench restart --trials 30 --folds 2 --epochs 5 --rounds 2 -o json";
    let rounds = scene.foldwise(words).expect_code(0).json();
    assert_eq!(rounds.as_array().map(Vec::len), Some(2), "{rounds}");
    for round in rounds.as_array().expect("rounds") {
        assert_eq!((&round["trials"], &round["rows"]), (&30.into(), &300.into()), "{round}");
        let seconds = |name: &str| round[name].as_f64().unwrap_or_else(|| panic!("{name}: {round}"));
        assert!(0.0 < seconds("listening_seconds"), "{round}");
        assert!(seconds("listening_seconds") < seconds("lease_seconds"), "{round}");
    }
}
