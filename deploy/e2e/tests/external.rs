//! Trials in the hands of other programs: the Python example, a shell, programs that die, and nonsense.

use std::path::Path;
use std::process::Command;

use foldwise_e2e::{Running, Scene, Server, until};
use foldwise_proto::v1::study_service_client::StudyServiceClient;
use foldwise_proto::v1::tell_request::Outcome;
use foldwise_proto::v1::{
    AddTrialRequest, AskRequest, EnqueueTrialRequest, RenewRequest, ReportRequest, TellRequest,
};
use rustix::process::Signal;
use tonic::Code;

const STUDY: &str = "version = 1
[study]
name = \"outside\"
objective = \"external\"
[train]
epochs = 10
[space]
rate = { float = [1e-4, 1e-1], log = true }
units = { int = [1, 8] }
kind = { choice = [\"a\", \"b\"] }
momentum = { float = [0.0, 1.0], when = { kind = \"b\" } }
[pruner]
kind = \"median\"
startup_trials = 1
[budget]
trials = 4
";

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("deploy/e2e lies in the repository")
}

#[test]
fn the_python_example_minimizes_branin() {
    let scene = Scene::new();
    let packages =
        Running::start(Command::new(repository().join("deploy/python.sh"))).finish().expect_code(0);
    let server = scene.serve("--db branin.db");
    let mut example = Command::new("python3");
    example
        .arg(repository().join("deploy/examples/branin.py"))
        .arg(server.url.trim_start_matches("http://"))
        .env("PYTHONPATH", packages.stdout.trim());
    let ended = Running::start(example).finish().expect_code(0);
    let regret: f64 =
        ended.stdout.trim().rsplit(' ').next().and_then(|word| word.parse().ok()).expect("a regret");
    assert!((0.0..0.03).contains(&regret), "{}", ended.stdout);

    let database = scene.database("branin.db");
    assert_eq!(database.number("SELECT count(*) FROM study WHERE state = 'ended'"), 11);
    assert_eq!(database.number("SELECT count(*) FROM trial WHERE state = 'complete'"), 1_100);
    // Eight were open at once, each with a lease of its own.
    let beside = "SELECT max(beside) FROM (SELECT (SELECT count(*) FROM lease AS other WHERE other.granted_at <= \
        lease.granted_at AND other.id <= lease.id AND other.ended_at > lease.granted_at) AS beside FROM lease)";
    assert_eq!(database.number(beside), 8);
}

#[test]
fn a_shell_searches_on_a_file_and_on_a_coordinator() {
    let scene = Scene::new();
    scene.write("study.toml", STUDY);
    scene
        .foldwise("run study.toml")
        .expect_code(2)
        .expect_stderr(&["external objective", "foldwise trial ask outside"]);
    let server = scene.serve("--db served.db");
    for place in ["--db file.db".to_owned(), format!("--coordinator {}", server.url)] {
        let run = |words: &str| scene.foldwise(&format!("trial {words} {place}"));
        let said = |words: &str| run(words).expect_code(0).json();
        scene
            .foldwise(&format!("study create study.toml {place}"))
            .expect_code(0)
            .expect_stderr(&["trial ask outside"]);

        assert_eq!(said("enqueue outside rate=0.05 units=3 kind=a")["state"], "waiting");
        let asked = said("ask outside --asker shell --lease-time 90s");
        assert_eq!(
            (&asked["trial"], &asked["lease"], &asked["lease_ms"]),
            (&0.into(), &1.into(), &90_000.into())
        );
        assert_eq!(asked["params"], serde_json::json!({ "rate": 0.05, "units": 3, "kind": "a" }));
        for (epoch, value) in [(1, 5.0), (2, 3.0)] {
            let now = said(&format!("report outside 0 --lease 1 --epoch {epoch} --value {value}"));
            assert_eq!((&now["stop"], &now["state"]), (&false.into(), &"running".into()));
        }
        let told = said("tell outside 0 --lease 1 --reported");
        assert_eq!((&told["state"], &told["value"]), (&"complete".into(), &3.0.into()));

        assert_eq!(said("ask outside")["trial"], 1);
        assert_eq!(said("renew outside 1")["stop"], false);
        let now = said("report outside 1 --epoch 2 --value nan");
        assert_eq!((&now["stop"], &now["state"]), (&true.into(), &"stopping".into()));
        assert!(now["reason"].as_str().expect("a reason").starts_with("median: "), "{now}");
        assert_eq!(said("tell outside 1 --stopped")["state"], "pruned");

        // One that was evaluated elsewhere; a number may be written as the other kind.
        let added = said("add outside rate=1e-3 units=2.0 kind=b momentum=0 --value -1.5");
        assert_eq!((&added["trial"], &added["value"]), (&2.into(), &(-1.5).into()));
        said("ask outside");
        run("ask outside").expect_code(1).expect_stderr(&["budget.trials is used up", "one of its trials"]);
        assert_eq!(said("tell outside 3 --failed boom")["state"], "failed");
        run("ask outside").expect_code(1).expect_stderr(&["has ended"]);

        let best = scene.foldwise(&format!("best outside -o json {place}")).expect_code(0).json();
        assert_eq!((&best["number"], &best["params"]["units"]), (&2.into(), &2.into()));
        let explained = scene.foldwise(&format!("trial explain outside 1 {place}")).expect_code(0).stdout;
        assert!(explained.contains("NaN"), "{explained}");
        let curve = scene.foldwise(&format!("curve outside -o csv {place}")).expect_code(0).stdout;
        assert_eq!(curve.lines().count(), 1 + 3, "{curve}");
    }
    server.running.signal(Signal::TERM);
    server.running.finish().expect_code(0);
    // Both ways the same trials.
    let trials = "SELECT number, name, param.value, origin, state FROM param JOIN trial ON id = trial_id ORDER BY 1, 2";
    assert_eq!(scene.database("file.db").rows(trials), scene.database("served.db").rows(trials));
}

#[test]
fn who_dies_frees_the_trial_on_a_file_too() {
    let scene = Scene::new();
    scene.write("study.toml", STUDY);
    let server = scene.serve("--db served.db");
    for place in ["--db file.db".to_owned(), format!("--coordinator {}", server.url)] {
        let run = |words: &str| scene.foldwise(&format!("trial {words} {place}"));
        scene.foldwise(&format!("study create study.toml {place}")).expect_code(0);
        let first = run("ask outside --lease-time 1s").expect_code(0).json();
        let again = until("the lease to run out", || {
            // Until then there are others to give, and at last none.
            let ended = run("ask outside");
            (ended.code == Some(0) && ended.json()["trial"] == first["trial"]).then(|| ended.json())
        });
        assert!(again["lease"].as_i64() > first["lease"].as_i64());
        assert_eq!(again["params"], first["params"]);
        run("tell outside 0 --lease 1 --value 1").expect_code(1).expect_stderr(&["lease 1 is over"]);
        assert_eq!(run("tell outside 0 --value 1").expect_code(0).json()["state"], "complete");
    }
}

#[test]
fn leases_outlive_a_coordinator_that_is_killed() {
    let scene = Scene::new();
    scene.write("study.toml", STUDY);
    let server = scene.serve("--db served.db");
    let place = format!("--coordinator {}", server.url);
    scene.foldwise(&format!("study create study.toml {place}")).expect_code(0);
    scene.foldwise(&format!("trial ask outside {place}")).expect_code(0);
    scene.foldwise(&format!("trial report outside 0 --epoch 1 --value 2 {place}")).expect_code(0);
    server.running.signal(Signal::KILL);
    server.running.finish();

    let server = scene.serve("--db served.db");
    let place = format!("--coordinator {}", server.url);
    scene.foldwise(&format!("trial report outside 0 --lease 1 --epoch 2 --value 1 {place}")).expect_code(0);
    let told =
        scene.foldwise(&format!("trial tell outside 0 --lease 1 --reported {place}")).expect_code(0).json();
    assert_eq!(told["value"], 1.0);
    assert_eq!(scene.database("served.db").number("SELECT count(*) FROM epoch"), 2);
}

/// A client as any language has it.
struct Client {
    runtime: tokio::runtime::Runtime,
    client: StudyServiceClient<tonic::transport::Channel>,
}

impl Client {
    fn new(server: &Server) -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let client =
            runtime.block_on(StudyServiceClient::connect(server.url.clone())).expect("a coordinator");
        Self { runtime, client }
    }

    fn tell(&mut self, study: &str, trial: u32, lease: Option<i64>, outcome: Option<Outcome>) -> Refused {
        let request = TellRequest { study: study.into(), trial, lease, outcome };
        refused(self.runtime.block_on(self.client.tell(request)).err())
    }

    fn report(&mut self, trial: u32, lease: i64, fold: u32, epoch: u32, value: f64) -> Refused {
        let study = "outside".to_owned();
        let request = ReportRequest { study, trial, lease: Some(lease), fold, epoch, value, last: false };
        refused(self.runtime.block_on(self.client.report(request)).err())
    }
}

type Refused = Option<(Code, String)>;

fn refused(status: Option<tonic::Status>) -> Refused {
    status.map(|status| (status.code(), status.message().to_owned()))
}

#[test]
fn nonsense_has_its_code_and_changes_nothing() {
    let scene = Scene::new();
    scene.write("study.toml", STUDY);
    let server = scene.serve("--db served.db");
    let place = format!("--coordinator {}", server.url);
    scene.foldwise(&format!("study create study.toml {place}")).expect_code(0);
    scene.foldwise(&format!("study create study.toml --set study.name=other {place}")).expect_code(0);
    for study in ["outside", "outside", "other"] {
        scene.foldwise(&format!("trial ask {study} {place}")).expect_code(0);
    }
    let mut client = Client::new(&server);
    assert_eq!(client.report(0, 1, 0, 3, 0.5), None);
    assert_eq!(client.tell("outside", 1, Some(2), Some(Outcome::Value(0.5))), None);
    let before = scene.database("served.db").dump();

    let value = |value| Some(Outcome::Value(value));
    let reported = [
        (client.report(0, 1, 0, 3, 0.5), Code::AlreadyExists, "epoch 3 was reported already; go on"),
        (client.report(0, 1, 0, 3, 0.6), Code::AlreadyExists, "as 0.5, which stays so"),
        (client.report(0, 1, 0, 2, 0.6), Code::FailedPrecondition, "report epochs in their order"),
        (client.report(0, 1, 0, 0, 0.6), Code::OutOfRange, "epochs go from 1 to 10"),
        (client.report(0, 1, 0, 11, 0.6), Code::OutOfRange, "epochs go from 1 to 10"),
        (client.report(0, 1, 1, 4, 0.6), Code::OutOfRange, "only fold 0"),
        (client.report(1, 2, 0, 4, 0.6), Code::FailedPrecondition, "a finished trial never changes"),
        (client.report(7, 1, 0, 4, 0.6), Code::NotFound, "its trials are 0 to 1"),
        (client.report(0, 99, 0, 4, 0.6), Code::NotFound, "there is no lease 99"),
        (client.report(0, 3, 0, 4, 0.6), Code::InvalidArgument, "one of another study"),
        (client.tell("outside", 0, Some(1), value(f64::NAN)), Code::InvalidArgument, "tell a finite number"),
        (client.tell("outside", 0, Some(1), value(f64::INFINITY)), Code::InvalidArgument, "the value is inf"),
        (client.tell("outside", 0, Some(1), None), Code::InvalidArgument, "`outcome` is missing"),
        (
            client.tell("outside", 0, Some(1), Some(Outcome::Stopped(true))),
            Code::FailedPrecondition,
            "hand it back",
        ),
        (
            client.tell("outside", 0, Some(1), Some(Outcome::Stopped(false))),
            Code::InvalidArgument,
            "only be true",
        ),
        (client.tell("outside", 1, Some(2), value(0.5)), Code::FailedPrecondition, "is finished"),
        (client.tell("outside", 0, Some(2), value(0.5)), Code::Aborted, "lease 2 is over"),
        (client.tell("nobody", 0, None, value(0.5)), Code::NotFound, "there are: outside, other"),
    ];
    let asked = |study: &str, asker: &str, lease_ms| AskRequest {
        study: study.into(),
        asker: asker.into(),
        lease_ms,
    };
    let mut asks = client.client.clone();
    let ask_wrong = refused(client.runtime.block_on(asks.ask(asked("outside", "a\nb", 0))).err());
    let lease_wrong = refused(client.runtime.block_on(asks.ask(asked("outside", "", -5))).err());
    let params = |json: &[(&str, f64)]| {
        let real =
            |value| foldwise_proto::v1::Value { kind: Some(foldwise_proto::v1::value::Kind::Real(value)) };
        json.iter().map(|(name, value)| ((*name).to_owned(), real(*value))).collect()
    };
    let study = || "outside".to_owned();
    let enqueued = EnqueueTrialRequest { study: study(), params: params(&[("rate", 5.0)]) };
    let unknown = EnqueueTrialRequest { study: study(), params: params(&[("rat", 0.01)]) };
    let added = AddTrialRequest {
        study: study(),
        asker: String::new(),
        params: params(&[("rate", 0.01)]),
        outcome: Some(foldwise_proto::v1::add_trial_request::Outcome::Value(1.0)),
    };
    let renewed = RenewRequest { study: study(), trial: 1, lease: Some(2) };
    let others = [
        (ask_wrong, Code::InvalidArgument, "without control characters"),
        (lease_wrong, Code::InvalidArgument, "use a second to 31 days"),
        (
            refused(client.runtime.block_on(asks.enqueue_trial(enqueued)).err()),
            Code::InvalidArgument,
            "`rate` cannot be 5",
        ),
        (
            refused(client.runtime.block_on(asks.enqueue_trial(unknown)).err()),
            Code::InvalidArgument,
            "no param of this study",
        ),
        (refused(client.runtime.block_on(asks.add_trial(added)).err()), Code::InvalidArgument, "is missing"),
        (
            refused(client.runtime.block_on(asks.renew(renewed)).err()),
            Code::FailedPrecondition,
            "is finished",
        ),
    ];
    for (answer, code, words) in reported.into_iter().chain(others) {
        let (found, message) = answer.expect(words);
        assert!(found == code && message.contains(words), "{found:?} {message}, not {code:?} {words}");
    }
    assert_eq!(scene.database("served.db").dump(), before);

    // The same on the command line: exit code 2 for what was written.
    for (words, message) in [
        ("tell outside 0 --value abc", "invalid float literal"),
        ("tell outside 0", "required arguments"),
        ("tell outside 0 --value 1 --stopped", "cannot be used with"),
        ("tell outside 0 --value nan", "tell a finite number"),
        ("tell outside 0 --lease x --value 1", "a lease is a whole number"),
        ("report outside 0 --epoch 3 --value 0.5", "was reported already"),
        ("enqueue outside rate", "write a name, `=` and a value"),
        ("enqueue outside rate=null", "null is no value"),
        ("enqueue outside rate=1e-3 rate=1e-2", "given twice"),
        ("enqueue outside momentum=0.5 kind=a", "`momentum` is not there"),
        ("ask nobody", "no study"),
        ("ask outside --lease-time 0s", "a lease lasts from a second to 31 days"),
        ("ask outside --lease-time 99days", "a lease lasts from a second to 31 days"),
    ] {
        scene.foldwise(&format!("trial {words} {place}")).expect_code(2).expect_stderr(&[message]);
    }
    assert_eq!(scene.database("served.db").dump(), before);
}
