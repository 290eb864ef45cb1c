//! Many devices: one supervisor, a worker process for each, and what becomes of them when one of either is killed.

use std::process::Command;
use std::time::Duration;

use foldwise_e2e::{Database, Process, Running, Scene, Server, Study, Value, until, until_within};
use rustix::process::Signal;

#[test]
fn three_devices_train_one_study_and_a_killed_worker_comes_back() {
    let scene = Scene::new();
    // Epochs long enough that a kill hits the middle of a fold.
    scene.write("study.toml", Study { trials: 6, epochs: 4, limit: 1000, ..Study::default() }.to_string());
    let server = scene.serve("--db study.db");
    let database = scene.database("study.db");
    let supervisor = start(&scene, &server, 3);
    create(&scene, &server);
    let workers = workers(&supervisor, 3);
    until("an epoch of each device", || (trained(&database) == 3).then_some(()));

    workers[0].signal(Signal::KILL);
    supervisor.until_stderr("fake:0: its worker ended by signal 9");
    let again = until("another worker on the device", || {
        Some(supervisor.worker("n/fake:0")).filter(|worker| *worker != workers[0])
    });
    assert!(again.is_alive() && workers[1].is_alive() && workers[2].is_alive());
    until_ended(&scene, &server);

    assert_eq!(database.number("SELECT count(*) FROM trial WHERE state = 'complete'"), 6);
    let devices = database.rows("SELECT DISTINCT worker, device FROM attempt ORDER BY worker");
    assert_eq!(devices.len(), 3, "{devices:?}");
    for (index, row) in devices.iter().enumerate() {
        let [Value::Text(worker), Value::Text(device)] = row.as_slice() else { panic!("{row:?}") };
        assert_eq!(*worker, format!("n/fake:{index}"));
        assert!(device.starts_with(&format!("fake:{index} FAKE-")), "{device}");
    }
    // The device is the same one, the process is not.
    let incarnations = "SELECT count(*), count(DISTINCT incarnation), count(DISTINCT device) FROM worker
                        WHERE name = 'n/fake:0'";
    let [two, one] = [2, 1].map(Value::Integer);
    assert_eq!(database.rows(incarnations), [[two.clone(), two, one]]);

    supervisor.signal(Signal::TERM);
    let said = supervisor.finish().expect_code(0).stderr;
    for index in 0..3 {
        assert!(said.lines().any(|line| line.ends_with(&format!("fake:{index}: drained"))), "{said}");
    }
}

#[test]
fn a_term_drains_every_device_and_another_changes_nothing() {
    let scene = Scene::new();
    scene.write("study.toml", Study { trials: 100, epochs: 4, limit: 1500, ..Study::default() }.to_string());
    let server = scene.serve("--db study.db");
    let database = scene.database("study.db");
    let supervisor = start(&scene, &server, 2);
    create(&scene, &server);
    let workers = workers(&supervisor, 2);
    until("an epoch of each device", || (trained(&database) == 2).then_some(()));
    let running = "SELECT count(*) FROM attempt WHERE state = 'running'";
    until("both in a fold", || (database.number(running) == 2).then_some(()));

    supervisor.signal(Signal::TERM);
    supervisor.until_stderr("draining");
    supervisor.signal(Signal::TERM);
    supervisor.finish().expect_code(0);
    assert!(workers.iter().all(|worker| !worker.is_alive()), "a worker is left");
    assert_eq!(database.number(running), 0, "a fold was not handed back");
    let failures = "SELECT count(*) FROM attempt WHERE failure IS NOT NULL AND failure <> 'preempted'";
    assert_eq!(database.number(failures), 0);
}

#[test]
fn a_killed_supervisor_leaves_no_worker() {
    let scene = Scene::new();
    scene.write("study.toml", Study { trials: 100, ..Study::default() }.to_string());
    let server = scene.serve("--db study.db");
    let database = scene.database("study.db");
    let supervisor = start(&scene, &server, 2);
    create(&scene, &server);
    let workers = workers(&supervisor, 2);
    until("an epoch of each device", || (trained(&database) == 2).then_some(()));
    supervisor.signal(Signal::KILL);
    assert_eq!(supervisor.finish().signal, Some(9));
    until_within(Duration::from_secs(10), "both workers to end", || {
        workers.iter().all(|worker| !worker.is_alive()).then_some(())
    });
}

#[test]
fn workers_that_are_all_refused_are_not_started_again() {
    let scene = Scene::new();
    scene.write("token", "secret\n");
    scene.write("other", "guess\n");
    let server = scene.serve("--db study.db --token-file token");
    // The file's name reaches the workers, and they are the ones to be refused.
    let words = format!("--coordinator {} --token-file other --fake-devices 2", server.url);
    let ended = scene.worker(&words).finish().expect_code(78);
    ended.expect_stderr(&["fake:0: its worker is not started again", "fake:1: its worker is", "token"]);
}

#[test]
fn no_gpu_is_no_device() {
    let scene = Scene::new();
    let mut command = scene.worker_command("--coordinator 127.0.0.1:1 --devices all");
    command.env("CUDA_VISIBLE_DEVICES", "");
    let ended = Running::start(command).finish().expect_code(78);
    ended.expect_stderr(&["all was asked for, but", "--devices cpu"]);
}

#[test]
fn a_run_rehearses_on_made_up_devices() {
    let scene = Scene::new();
    scene.write("study.toml", Study::default().to_string());
    let mut command = scene.command("run study.toml --db study.db");
    // Its workers have one device each all the same.
    command.env("FOLDWISE_FAKE_DEVICES", "2");
    Running::start(command).finish().expect_code(0);
    let devices = "SELECT DISTINCT substr(device, 1, 12) FROM attempt ORDER BY 1";
    let text = |text: &str| Value::Text(text.to_owned());
    assert_eq!(scene.database("study.db").rows(devices), [[text("fake:0 FAKE-")], [text("fake:1 FAKE-")]]);
}

/// NVML as far as a worker asks it, of a machine with three GPUs of which the second has failed.
const NVML: &str = r#"
#include <stdio.h>
#include <string.h>
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory;
typedef struct { unsigned gpu, memory; } rates;
static int numbers[3] = { 0, 1, 2 };
int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { (void)code; return "lost"; }
int nvmlSystemGetDriverVersion(char *to, unsigned size) { snprintf(to, size, "550.54.15"); return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 3; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
  if (index == 1) return 15;
  *device = &numbers[index];
  return 0;
}
int nvmlDeviceGetIndex(void *device, unsigned *index) { *index = *(int *)device; return 0; }
int nvmlDeviceGetName(void *device, char *to, unsigned size) { (void)device; snprintf(to, size, "Test GPU"); return 0; }
int nvmlDeviceGetUUID(void *device, char *to, unsigned size) {
  snprintf(to, size, "GPU-0000000%d-1111-2222-3333-444444444444", *(int *)device);
  return 0;
}
int nvmlDeviceGetMemoryInfo_v2(void *device, memory *info) {
  (void)device;
  info->total = 16ull << 30;
  info->free = 12ull << 30;
  info->used = 3ull << 30;
  info->reserved = 1ull << 30;
  return 0;
}
int nvmlDeviceGetUtilizationRates(void *device, rates *to) { (void)device; to->gpu = 42; to->memory = 7; return 0; }
"#;

/// A command that finds that library where it looks for the driver's own.
fn with_gpus(scene: &Scene, words: &str, visible: Option<&str>) -> Command {
    let source = scene.write("nvml.c", NVML);
    let library = scene.path("libnvidia-ml.so.1");
    let made = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
    assert!(made.expect("a C compiler").success());
    let mut command = scene.worker_command(words);
    command.env("LD_LIBRARY_PATH", scene.path(""));
    match visible {
        Some(visible) => command.env("CUDA_VISIBLE_DEVICES", visible),
        None => command.env_remove("CUDA_VISIBLE_DEVICES"),
    };
    command
}

#[test]
fn gpus_are_listed_with_what_can_be_seen_of_them() {
    let scene = Scene::new();
    let list = |visible: Option<&str>| -> Vec<serde_json::Value> {
        let ended = Running::start(with_gpus(&scene, "devices --json", visible)).finish().expect_code(0);
        let all = ended.json().as_array().expect("a list").clone();
        all.into_iter().filter(|device| device["kind"] == "cuda").collect()
    };
    let all = list(None);
    assert_eq!(all.len(), 2, "the one that failed is left out: {all:?}");
    assert_eq!((&all[0]["index"], &all[0]["host_index"]), (&0.into(), &0.into()));
    assert_eq!((&all[1]["index"], &all[1]["host_index"]), (&1.into(), &2.into()));
    assert_eq!(all[1]["name"], "Test GPU");
    assert_eq!(all[1]["uuid"], "GPU-00000002-1111-2222-3333-444444444444");
    assert_eq!((&all[1]["memory"], &all[1]["memory_free"]), (&(16u64 << 30).into(), &(12u64 << 30).into()));
    assert_eq!((&all[1]["utilization"], &all[1]["driver"]), (&0.42.into(), &"550.54.15".into()));
    let visible = |visible: &str| -> Vec<(String, bool)> {
        let list = list(Some(visible));
        let row = |device: &serde_json::Value| (device["host_index"].to_string(), device["visible"] == true);
        list.iter().map(row).collect()
    };
    let row = |index: &str, visible| (index.to_owned(), visible);
    assert_eq!(visible("2"), [row("2", true), row("0", false)]);
    assert_eq!(visible("GPU-00000002,0"), [row("2", true), row("0", true)]);
    assert_eq!(visible("1,0"), [row("0", false), row("2", false)]);
    assert_eq!(visible(""), [row("0", false), row("2", false)]);

    let text = Running::start(with_gpus(&scene, "devices", Some("2"))).finish().expect_code(0).stdout;
    for words in
        ["cuda:0  Test GPU, 16.0 GiB, 12.0 GiB free, 42 % busy, GPU-00000002", "driver 550.54.15", "hides it"]
    {
        assert!(text.contains(words), "{text}");
    }
}

/// The GPUs are made up: their workers start, and find that CUDA cannot use them.
#[test]
fn every_visible_gpu_gets_a_worker_that_sees_it_alone() {
    let scene = Scene::new();
    for (devices, visible, labels) in
        [("all", None, &["cuda:0", "cuda:2"][..]), ("all", Some("2"), &["cuda:2"]), ("1", None, &["cuda:2"])]
    {
        let words = format!("--coordinator 127.0.0.1:1 --devices {devices}");
        let ended = Running::start(with_gpus(&scene, &words, visible)).finish().expect_code(78);
        for label in ["cuda:0", "cuda:2"] {
            let uuid = format!("GPU-0000000{}-1111-2222-3333-444444444444", &label[5..]);
            let started = ended.stderr.contains(&format!("{label} (Test GPU, {uuid}): process "));
            assert_eq!(started, labels.contains(&label), "{devices} {visible:?}: {}", ended.stderr);
            let asked = ended.stderr.contains(&format!("{label}: foldwise-worker: cuda:0 was asked for"));
            assert_eq!(asked, labels.contains(&label), "{devices} {visible:?}: {}", ended.stderr);
        }
    }
    let words = "--coordinator 127.0.0.1:1 --devices cuda:2";
    let ended = Running::start(with_gpus(&scene, words, None)).finish().expect_code(78);
    ended.expect_stderr(&["cuda:2 was asked for, but CUDA sees 2"]);
}

fn start(scene: &Scene, server: &Server, devices: u32) -> Running {
    scene.worker(&format!("--coordinator {} --name n --fake-devices {devices}", server.url))
}

fn workers(supervisor: &Running, devices: u32) -> Vec<Process> {
    (0..devices).map(|index| supervisor.worker(&format!("n/fake:{index}"))).collect()
}

fn create(scene: &Scene, server: &Server) {
    scene.foldwise(&format!("study create study.toml --coordinator {}", server.url)).expect_code(0);
}

/// The number of devices that have trained an epoch.
fn trained(database: &Database) -> i64 {
    let sql = "SELECT count(DISTINCT device) FROM attempt JOIN epoch USING (trial_id, fold, attempt)";
    database.number_so_far(sql)
}

fn until_ended(scene: &Scene, server: &Server) {
    let words = format!("study show e2e --coordinator {} -o json", server.url);
    until("the study's end", || {
        let state = scene.foldwise(&words).expect_code(0).json()["state"].clone();
        (state == "ended").then_some(())
    });
}
