//! Supervisors of shell scripts: what is started, how often, and what comes of it.

use std::path::Path;

use super::*;

const PLENTY: Duration = Duration::from_secs(60);

/// A supervisor of a script for each label, and the folder in which they run. A child is drained by TERM.
struct Scene {
    folder: tempfile::TempDir,
    shutdown: watch::Sender<Shutdown>,
    ends: tokio::task::JoinHandle<Vec<End>>,
}

impl Scene {
    fn start(script: &str, labels: &[&str]) -> Self {
        Self::start_with(script, labels, |_| {})
    }

    fn start_with(script: &str, labels: &[&str], change: impl FnOnce(&mut Order)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // `$FOLDER/LABEL` gets a line at every start, with the flags.
        let script = format!("echo \"$@\" >> \"$FOLDER/${{4##*/}}\"; {script}");
        let mut order = Order {
            program: "/bin/sh".into(),
            words: ["-c", &script, "worker"].map(OsString::from).to_vec(),
            variables: vec![("FOLDER".into(), folder.path().into())],
            name: "n".into(),
            gives_up: false,
            pace: Pace {
                first: Duration::from_millis(1),
                longest: Duration::from_millis(4),
                healthy: PLENTY,
                deaths: 3,
                grace: Duration::from_millis(200),
            },
        };
        change(&mut order);
        let placements = labels
            .iter()
            .map(|label| Placement {
                label: (*label).to_owned(),
                device: crate::device::DeviceChoice::Cpu,
                visible: Some(format!("GPU-{label}")),
                about: String::new(),
            })
            .collect();
        let (shutdown, asked) = watch::channel(Shutdown::No);
        let ends = tokio::spawn(supervise(order, placements, asked));
        Self { folder, shutdown, ends }
    }

    async fn ends(self) -> (Vec<End>, tempfile::TempDir) {
        let ends = tokio::time::timeout(PLENTY, self.ends).await.expect("an end").expect("no panic");
        (ends, self.folder)
    }

    /// Waits until a child has written a file.
    async fn until(&self, name: &str) {
        let path = self.folder.path().join(name);
        let there = async {
            while !path.exists() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PLENTY, there).await.expect("a file");
    }
}

fn lines(folder: &Path, label: &str) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join(label)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn every_device_has_its_own_child() {
    let script = "echo $CUDA_VISIBLE_DEVICES >> \"$FOLDER/seen\"; exit 0";
    let (ends, folder) = Scene::start(script, &["a", "b"]).ends().await;
    assert_eq!(ends, [End::Drained, End::Drained]);
    assert_eq!(lines(folder.path(), "a"), ["--device cpu --name n/a --exit-with-stdin"]);
    assert_eq!(lines(folder.path(), "b"), ["--device cpu --name n/b --exit-with-stdin"]);
    let mut seen = lines(folder.path(), "seen");
    seen.sort();
    assert_eq!(seen, ["GPU-a", "GPU-b"]);
}

#[tokio::test]
async fn a_child_that_dies_comes_back() {
    // Dies by a signal, then by an exit code, then is drained.
    let script = "case $(wc -l < \"$FOLDER/a\" | tr -d ' ') in 1) kill -9 $$;; 2) exit 1;; *) exit 0;; esac";
    let (ends, folder) = Scene::start(script, &["a"]).ends().await;
    assert_eq!(ends, [End::Drained]);
    assert_eq!(lines(folder.path(), "a").len(), 3);
}

#[tokio::test]
async fn a_device_that_kills_its_worker_every_time_is_given_up() {
    let script = "case $4 in */bad) exit 1;; *) exit 0;; esac";
    let (ends, folder) = Scene::start(script, &["bad", "good"]).ends().await;
    assert_eq!(ends, [End::Failed, End::Drained]);
    assert_eq!(lines(folder.path(), "bad").len(), 3);
    assert_eq!(together(&ends), End::Failed);
}

#[tokio::test]
async fn a_child_that_lived_well_is_started_as_often_as_it_dies() {
    let script = "[ $(wc -l < \"$FOLDER/a\") -gt 9 ] && exit 0; exit 1";
    let scene = Scene::start_with(script, &["a"], |order| order.pace.healthy = Duration::ZERO);
    let (ends, folder) = scene.ends().await;
    assert_eq!(ends, [End::Drained]);
    assert_eq!(lines(folder.path(), "a").len(), 10);
}

#[tokio::test]
async fn after_a_good_life_all_its_deaths_are_left() {
    let script = "[ $(wc -l < \"$FOLDER/a\") -eq 2 ] && sleep 2.2; exit 1";
    let scene = Scene::start_with(script, &["a"], |order| order.pace.healthy = Duration::from_secs(2));
    let (ends, folder) = scene.ends().await;
    assert_eq!(ends, [End::Failed]);
    // One quick death, one after a good life, and the three that are too many.
    assert_eq!(lines(folder.path(), "a").len(), 5);
}

#[tokio::test]
async fn a_wrong_configuration_is_not_tried_again() {
    let (ends, folder) = Scene::start("exit 78", &["a", "b"]).ends().await;
    assert_eq!(ends, [End::Misconfigured, End::Misconfigured]);
    assert_eq!(lines(folder.path(), "a").len(), 1);
}

#[tokio::test]
async fn a_coordinator_that_is_away_is_given_up_only_where_that_was_asked() {
    for (gives_up, starts) in [(true, 1), (false, 3)] {
        let scene = Scene::start_with("exit 75", &["a"], |order| order.gives_up = gives_up);
        let (ends, folder) = scene.ends().await;
        assert_eq!((ends, lines(folder.path(), "a").len()), (vec![End::Failed], starts));
    }
}

#[tokio::test]
async fn a_drain_is_passed_on_once_and_waited_for() {
    let script = "trap 'echo term >> \"$FOLDER/signals\"; sleep 0.2; exit 0' TERM; : > \"$FOLDER/ready\"; \
                  while :; do sleep 0.01; done";
    let scene = Scene::start(script, &["a"]);
    scene.until("ready").await;
    scene.shutdown.send_replace(Shutdown::Drain);
    scene.until("signals").await;
    scene.shutdown.send_replace(Shutdown::Drain);
    let (ends, folder) = scene.ends().await;
    assert_eq!(ends, [End::Drained]);
    assert_eq!(lines(folder.path(), "signals"), ["term"]);
}

#[tokio::test]
async fn whoever_does_not_drain_is_not_drained() {
    let script = "trap 'exit 3' TERM; : > \"$FOLDER/ready\"; while :; do sleep 0.01; done";
    let scene = Scene::start(script, &["a"]);
    scene.until("ready").await;
    scene.shutdown.send_replace(Shutdown::Drain);
    let (ends, folder) = scene.ends().await;
    assert_eq!(ends, [End::Failed]);
    assert_eq!(lines(folder.path(), "a").len(), 1, "it is not started again");
}

#[tokio::test]
async fn a_drain_ends_the_wait_for_another_start() {
    let scene = Scene::start_with("exit 1", &["a"], |order| {
        order.pace.first = PLENTY * 10;
        order.pace.longest = PLENTY * 10;
    });
    scene.until("a").await;
    scene.shutdown.send_replace(Shutdown::Drain);
    assert_eq!(scene.ends().await.0, [End::Failed]);
}

#[tokio::test]
async fn whoever_does_not_end_at_once_is_killed() {
    let script = "trap '' TERM INT; : > \"$FOLDER/ready\"; while :; do sleep 0.01; done";
    let scene = Scene::start(script, &["a"]);
    scene.until("ready").await;
    scene.shutdown.send_replace(Shutdown::Drain);
    scene.shutdown.send_replace(Shutdown::Now);
    assert_eq!(scene.ends().await.0, [End::Interrupted]);
}

#[tokio::test]
async fn a_program_that_is_not_there_fails() {
    let scene = Scene::start_with("", &["a"], |order| order.program = "/nowhere/at/all".into());
    assert_eq!(scene.ends().await.0, [End::Failed]);
}

#[test]
fn all_together() {
    use End::{Drained, Failed, Interrupted, Misconfigured};
    for (ends, all) in [
        (vec![Drained], Drained),
        (vec![Drained, Drained], Drained),
        (vec![Misconfigured, Misconfigured], Misconfigured),
        (vec![Drained, Misconfigured], Failed),
        (vec![Failed, Drained], Failed),
        (vec![Interrupted, Drained], Interrupted),
        (vec![], Failed),
    ] {
        assert_eq!(together(&ends), all, "{ends:?}");
    }
}
