//! With a worker that the test plays.

use std::time::Duration;

use foldwise_engine::scheduler::{DataInfo, EpochReport, Event, NewStudy, ToWorker, WorkerInfo};
use foldwise_shared::artifact::ResultFile;
use foldwise_shared::ids::{Epoch, SessionId};
use foldwise_shared::spec::parse;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::coordinator::{Coordinator, LoopThread, Options};
use crate::model_file::tests::{fit as fit_file, model};
use crate::store::Store;

const SOON: Duration = Duration::from_secs(20);

const SEARCH: &str = r#"version = 1
study = { name = "search" }
data = { dataset = "mnist", holdout = 5 }
model = { network = "lab", latent_dim = 6 }
train = { epochs = 2 }
space = { dropout = { float = [0.0, 0.5] } }
budget = { trials = 9 }
"#;

const TRANSFER: &str = r#"version = 1
study = { name = "t", objective = "transfer" }
source = { study = "search" }
train = { epochs = 5 }
budget = { trials = 3 }
"#;

struct Place {
    folder: tempfile::TempDir,
    coordinator: Coordinator,
    _thread: LoopThread,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let database = folder.path().join("a.db");
        let store = Store::open(&database).expect("a database");
        let (coordinator, _thread) =
            Coordinator::start(store, &database, Options::default()).expect("a loop");
        Self { folder, coordinator, _thread }
    }

    fn sources(&self) -> Sources {
        Sources::of(&self.folder.path().join("a.db"))
    }

    async fn create(&self, spec: StudySpec, parent: Option<StudyId>) -> StudyRecord {
        let data = DataInfo { images: 20, height: 28, width: 28, ..DataInfo::default() };
        let study = NewStudy { spec_text: String::new(), spec, data, parent, source: None };
        self.coordinator.create(study).await.expect("created")
    }

    /// Trains the fit to its end, as a worker does, and stores its model.
    async fn train(&self, model: &ModelFile) {
        let (sender, mut told) = mpsc::unbounded_channel();
        let session = SessionId(1);
        self.coordinator.attach(session, sender).await.expect("it runs");
        let worker = WorkerInfo { name: "w".into(), incarnation: "i".into(), device: "cpu".into() };
        for event in [Event::Hello { session, worker, held: Vec::new() }, Event::Ready { session, slots: 1 }]
        {
            self.coordinator.tell(event).await.expect("it runs");
        }
        let key = loop {
            if let ToWorker::Assign(assignment) =
                timeout(SOON, told.recv()).await.expect("soon").expect("it runs")
            {
                break assignment.key;
            }
        };
        let report = EpochReport {
            epoch: Epoch(1),
            train_loss: 0.5,
            validation_loss: 0.5,
            learning_rate: 1e-3,
            seconds: 1.0,
            metrics: Default::default(),
        };
        self.coordinator.tell(Event::Epoch { session, key, report }).await.expect("it runs");
        let file = model.artifact();
        let held = self.coordinator.artifacts().put(&file, model.bytes()).expect("stored");
        let result = ResultFile { kind: MODEL.into(), epoch: None, file };
        let stored = Event::Result { incarnation: "i".into(), key, result, before: None };
        self.coordinator.request(stored).await.expect("recorded");
        drop(held);
        self.coordinator.tell(Event::Finished { session, key, stopped: false }).await.expect("it runs");
        timeout(SOON, async {
            while self.coordinator.study("f").await.expect("a study").state != StudyState::Ended {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await
        .expect("it ends");
    }
}

fn file(spec: &StudySpec, value: f32) -> ModelFile {
    let settings = ModelSettings::resolve(spec, &Params::new()).expect("settings");
    ModelFile::read(model(&settings, value)).expect("a model")
}

fn refused(found: Result<Sourced, CreateError>) -> String {
    match found {
        Ok(_) => panic!("it is taken"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn a_study_starts_from_the_newest_fit_of_the_study_that_it_names() {
    let place = Place::new();
    let resolve = || place.sources().resolve(parse(TRANSFER, &[]).expect("a study file"));
    let error = refused(resolve());
    assert!(error.contains("there is no study `search` in this database, nor any other"), "{error}");

    let search = place.create(parse(SEARCH, &["study.priority=-1".into()]).expect("a study"), None).await;
    let error = refused(resolve());
    assert!(error.contains("study `search` has no fit; `foldwise fit search` makes one"), "{error}");

    let spec = fit_file(&["model.dropout=0.25", "data.limit=20"]);
    let fit = place.create(spec.clone(), Some(search.id)).await;
    let error = refused(resolve());
    assert!(
        error.contains("the fit `f` is not finished") && error.contains("foldwise fit search"),
        "{error}"
    );

    let model = file(&spec, 0.5);
    place.train(&model).await;
    let Sourced { spec: found, model: read, parent } = resolve().expect("it starts");
    assert_eq!(found.source.clone().and_then(|source| source.model), Some(model.artifact().digest));
    assert_eq!((found.model.latent_dim, found.model.dropout), (Some(6), Some(0.25)));
    assert_eq!((found.data.dataset.as_deref(), found.data.holdout), (Some("mnist"), Some(5)));
    assert_eq!(parent, Some(fit.id));
    let read = read.expect("a model");
    assert!(check_model(&found, &read, 28, 28).is_ok());
    let error = check_model(&found, &read, 28, 32).expect_err("other images").to_string();
    assert!(
        error.contains("source.model: it is a model of another shape") && error.contains("width"),
        "{error}"
    );

    // By its own name it is found as well.
    let own = place.sources().resolve(parse(TRANSFER, &["source.study=f".into()]).expect("a study file"));
    assert_eq!(own.expect("it starts").parent, Some(fit.id));
}

#[tokio::test]
async fn a_model_may_come_from_elsewhere() {
    let place = Place::new();
    let spec = fit_file(&[]);
    place.create(spec.clone(), None).await;
    place.train(&file(&spec, 0.5)).await;
    let other = file(&spec, 0.25);
    let set = [
        format!("source.model={}", other.artifact().digest),
        "data.dataset=mnist".into(),
        "data.holdout=5".into(),
    ];
    let wanted = || parse(TRANSFER, &set).expect("a study file");
    let error = refused(place.sources().resolve(wanted()));
    assert!(error.contains("source.model") && error.contains("--model FILE"), "{error}");
    let found = place.sources().with(other).resolve(wanted()).expect("it starts");
    assert_eq!(found.spec.model.latent_dim, Some(6), "the network is the one that the file says it is of");
}
