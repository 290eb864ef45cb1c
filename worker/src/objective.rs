//! Does the folds that the agent gets: opens the data a study is about, makes sure it is the same as everybody's, and
//! hands the fold to the objective of its kind.

mod evaluation;
#[cfg(test)]
mod fit_tests;
mod fitting;
mod follower;
mod source;
#[cfg(test)]
mod source_tests;
mod training;
mod transfer;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldwise_data::{Dataset, Locations};
use foldwise_shared::model::TrialSettings;
use foldwise_shared::spec::{self, StudySpec};
use foldwise_shared::split::{Scheme, Splits};
use foldwise_shared::state::FailureClass;
use tch::Device;

use crate::agent::{Control, FoldWork, Objective, Outcome, Progress};
use crate::images::{DeviceImages, ImagesError};
use crate::train::TrainError;

/// Folds of studies about images, trained on one device.
pub struct FoldObjective {
    device: Device,
    locations: Locations,
    /// The data sets that were opened, by the name the study gives.
    opened: Mutex<BTreeMap<String, Arc<Opened>>>,
}

/// A data set, and its images on the device once the first attempt has put them there. libtorch's tensors are for one
/// thread at a time, so each attempt takes a handle of its own on the same memory.
struct Opened {
    dataset: Arc<Dataset>,
    images: Mutex<Option<DeviceImages>>,
}

impl Opened {
    fn images(&self, device: Device) -> Result<DeviceImages, ImagesError> {
        let mut images = lock(&self.images);
        if let Some(images) = images.as_ref() {
            return Ok(images.share());
        }
        let first = DeviceImages::training(Arc::clone(&self.dataset), device)?;
        Ok(images.insert(first).share())
    }
}

/// A fold that can be done here.
struct Prepared {
    spec: StudySpec,
    opened: Arc<Opened>,
    settings: TrialSettings,
    train: Vec<i64>,
    validation: Vec<i64>,
}

/// Images that a model is judged by.
struct Judges {
    images: DeviceImages,
    indices: Vec<i64>,
    /// The class of each index.
    labels: Option<Vec<u8>>,
    part: &'static str,
}

impl FoldObjective {
    /// Nothing is opened before the first fold needs it.
    pub fn new(device: Device, locations: Locations) -> Self {
        Self { device, locations, opened: Mutex::default() }
    }

    fn prepare(&self, work: &FoldWork) -> Result<Prepared, Outcome> {
        let spec = StudySpec::from_json(&work.study.spec)
            .map_err(|error| invalid(format!("the spec cannot be read: {error}")))?;
        let settings = TrialSettings::resolve(&spec, &work.params).map_err(invalid)?;

        let name = spec.dataset();
        let opened = self.open(name)?;
        let (here, study) = (opened.dataset.digest(), &work.study.data_digest);
        if here != study {
            // Somebody may put the right data there before the next try.
            lock(&self.opened).remove(name);
            return Err(declined(format!(
                "the data {name} on this machine is not the study's: its digest is {here}, the study's is {study}"
            )));
        }

        let images = spec.images_used(opened.dataset.train().len());
        let splits = Splits::new(spec.study.seed, spec.scheme(), images)
            .map_err(|error| invalid(error.to_string()))?;
        let (here, study) = (splits.digest(), &work.study.splits_digest);
        if here != *study {
            return Err(declined(format!(
                "this worker splits the data in another way: the digest of its splits of {images} images is {here}, \
                 the study's of {} images is {study}",
                work.study.images
            )));
        }
        let fold = work.key.fold.0;
        match (splits.train(fold), splits.validation(fold)) {
            (Some(train), Some(validation)) => Ok(Prepared { spec, opened, settings, train, validation }),
            _ => {
                Err(invalid(format!("there is no fold {fold}; the study has {}, from 0 on", splits.folds())))
            }
        }
    }

    fn open(&self, name: &str) -> Result<Arc<Opened>, Outcome> {
        // Held meanwhile, so that a data set is opened once.
        let mut all = lock(&self.opened);
        if let Some(opened) = all.get(name) {
            return Ok(Arc::clone(opened));
        }
        let dataset = Dataset::open(name, &self.locations).map_err(|error| declined(with_source(&error)))?;
        let opened = Arc::new(Opened { dataset: Arc::new(dataset), images: Mutex::default() });
        all.insert(name.to_owned(), Arc::clone(&opened));
        Ok(opened)
    }

    /// The training images on the device.
    fn images(&self, opened: &Opened) -> Result<DeviceImages, Outcome> {
        opened.images(self.device).map_err(|error| match error {
            ImagesError::Torch(error) => failed(&error.into()),
            error => invalid(error.to_string()),
        })
    }

    /// The images that a model is judged by: those of the test part, or of the fold's validation part where there are none. A
    /// study that holds no image out validates on its training images.
    fn judges(&self, prepared: &Prepared) -> Result<Judges, Outcome> {
        let dataset = &prepared.opened.dataset;
        let test = DeviceImages::test(dataset, self.device).map_err(|error| match error {
            ImagesError::Torch(error) => failed(&error.into()),
            error => invalid(error.to_string()),
        })?;
        let all = |labels: Option<&[u8]>| labels.map(<[u8]>::to_vec);
        match test {
            Some(images) => {
                let indices = (0..images.len()).collect();
                let labels = all(dataset.test().and_then(foldwise_data::Images::labels));
                Ok(Judges { images, indices, labels, part: "test" })
            }
            None => {
                let indices = prepared.validation.clone();
                let of = |labels: &[u8]| {
                    let label = |index: &i64| labels.get(usize::try_from(*index).ok()?).copied();
                    indices.iter().map(label).collect::<Option<Vec<u8>>>()
                };
                let labels = dataset.train().labels().and_then(of);
                let part = if prepared.spec.scheme() == Scheme::Whole { "training" } else { "validation" };
                Ok(Judges { images: self.images(&prepared.opened)?, indices, labels, part })
            }
        }
    }

    fn dispatch(
        &self,
        work: &FoldWork,
        start: Option<Vec<u8>>,
        control: &Control,
        progress: &mut dyn Progress,
    ) -> Result<Outcome, Outcome> {
        let prepared = self.prepare(work)?;
        match prepared.spec.study.objective {
            spec::Objective::Training => self.train(prepared, work, start, control, progress),
            spec::Objective::Evaluation => self.evaluate(prepared, work, control, progress),
            spec::Objective::Transfer => self.transfer(prepared, work, start, control, progress),
            spec::Objective::External => {
                Err(invalid("the trials of an external objective are not for workers".to_owned()))
            }
        }
    }
}

impl Objective for FoldObjective {
    fn run(
        &self,
        work: &FoldWork,
        start: Option<Vec<u8>>,
        control: &Control,
        progress: &mut dyn Progress,
    ) -> Outcome {
        self.dispatch(work, start, control, progress).unwrap_or_else(|outcome| outcome)
    }
}

fn failed(error: &TrainError) -> Outcome {
    let class = match error {
        TrainError::Invalid(_) => FailureClass::Invalid,
        TrainError::OutOfMemory(_) => FailureClass::OutOfMemory,
        TrainError::Diverged(_) => FailureClass::Diverged,
        // The fold starts afresh then, which may go well.
        TrainError::Checkpoint(_) | TrainError::Torch(_) => FailureClass::Error,
    };
    Outcome::Failed { class, message: error.to_string() }
}

fn invalid(message: String) -> Outcome {
    Outcome::Failed { class: FailureClass::Invalid, message }
}

fn declined(message: String) -> Outcome {
    Outcome::Declined { message }
}

fn with_source(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

/// A panic of another attempt leaves both maps whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;
    use std::path::{Path, PathBuf};

    use foldwise_shared::ids::{Attempt, AttemptKey, Epoch, FoldIndex, StudyId, TrialNumber};
    use foldwise_shared::spec;
    use foldwise_shared::value::{ParamValue, Params};

    use super::*;
    use crate::agent::{Draft, EpochReport, StartPoint, StudyWork};

    const IMAGES: u8 = 24;

    /// A folder with a few images in it, different for each `tint`.
    pub(super) fn folder(tint: u8) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut bytes = vec![0, 0, 8, 3, 0, 0, 0, IMAGES, 0, 0, 0, 28, 0, 0, 0, 28];
        bytes.extend((0..usize::from(IMAGES) * 28 * 28).map(|at| (at % 251) as u8 ^ tint));
        std::fs::write(folder.path().join("train-images-idx3-ubyte"), bytes).expect("written");
        let path = folder.path().to_owned();
        (folder, path)
    }

    pub(super) fn objective() -> FoldObjective {
        crate::device::set_threads(1);
        FoldObjective::new(Device::Cpu, Locations::new(None, None))
    }

    pub(super) fn work(path: &Path) -> FoldWork {
        let text = format!(
            r#"
            version = 1
            study = {{ name = "tiny", seed = 3 }}
            data = {{ dataset = "{}", folds = 3, limit = 20 }}
            model = {{ network = "lab", latent_dim = 2 }}
            train = {{ epochs = 2, batch_size = 8 }}
            space = {{ learning_rate = {{ float = [1e-4, 1e-2], log = true }} }}
            budget = {{ trials = 1 }}
            "#,
            path.display()
        );
        let spec = spec::parse(&text, &[]).expect("a study file");
        let digest =
            Dataset::open(spec.dataset(), &Locations::new(None, None)).expect("data").digest().to_owned();
        let study = StudyWork {
            data_digest: digest,
            splits_digest: Splits::new(3, spec.scheme(), 20).expect("it fits").digest(),
            images: 20,
            spec: spec.to_json(),
            source: None,
        };
        FoldWork {
            key: AttemptKey {
                study: StudyId(1),
                trial: TrialNumber(0),
                fold: FoldIndex(1),
                attempt: Attempt(1),
            },
            study: Arc::new(study),
            params: Params::from([("learning_rate".into(), ParamValue::Float(1e-3))]),
            seed: 5,
            start: None,
            source: None,
        }
    }

    /// Keeps what it hears; stops after the epoch `stop_after`.
    #[derive(Default)]
    pub(super) struct Heard {
        pub epochs: Vec<EpochReport>,
        pub drafts: Vec<Draft>,
        pub derived: Vec<(String, ParamValue)>,
        pub phases: Vec<String>,
        pub artifacts: Vec<(String, Option<Epoch>, Vec<u8>)>,
        pub stop_after: u32,
    }

    impl Progress for Heard {
        fn epoch(&mut self, report: EpochReport) -> ControlFlow<()> {
            let stop = report.epoch.0 == self.stop_after;
            self.epochs.push(report);
            if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }

        fn derived(&mut self, name: &str, value: ParamValue) {
            self.derived.push((name.to_owned(), value));
        }

        fn phase(&mut self, name: &str) {
            self.phases.push(name.to_owned());
        }

        fn artifact(&mut self, kind: &str, epoch: Option<Epoch>, bytes: Vec<u8>) {
            self.artifacts.push((kind.to_owned(), epoch, bytes));
        }

        fn checkpoint(&mut self, draft: Draft) {
            self.drafts.push(draft);
        }
    }

    fn run(objective: &FoldObjective, work: &FoldWork) -> (Vec<EpochReport>, Outcome) {
        let mut heard = Heard::default();
        let outcome = objective.run(work, None, &Control::default(), &mut heard);
        (heard.epochs, outcome)
    }

    pub(super) fn message(outcome: Outcome) -> (Option<FailureClass>, String) {
        match outcome {
            Outcome::Failed { class, message } => (Some(class), message),
            Outcome::Declined { message } => (None, message),
            Outcome::Finished { .. } => panic!("it finished"),
        }
    }

    #[test]
    fn a_fold_is_trained_to_its_end_and_the_same_again() {
        let (_folder, path) = folder(0);
        let (objective, work) = (objective(), work(&path));
        let (epochs, outcome) = run(&objective, &work);
        assert_eq!(outcome, Outcome::Finished { stopped: false });
        assert_eq!(epochs.iter().map(|report| report.epoch.0).collect::<Vec<_>>(), [1, 2]);
        assert!(epochs.iter().all(|report| (0.0..1.0).contains(&report.validation_loss)), "{epochs:?}");
        assert!(epochs.iter().all(|report| report.learning_rate == 1e-3));
        let losses =
            |epochs: &[EpochReport]| epochs.iter().map(|report| report.validation_loss).collect::<Vec<_>>();
        assert_eq!(losses(&run(&objective, &work).0), losses(&epochs));
        assert_eq!(lock(&objective.opened).len(), 1);
    }

    #[test]
    fn a_break_stops_it() {
        let (_folder, path) = folder(0);
        let mut heard = Heard { stop_after: 1, ..Heard::default() };
        let outcome = objective().run(&work(&path), None, &Control::default(), &mut heard);
        assert_eq!(outcome, Outcome::Finished { stopped: true });
    }

    #[test]
    fn a_stopped_fold_goes_on_from_its_checkpoint_and_from_no_other() {
        let (_folder, path) = folder(0);
        let (objective, first) = (objective(), work(&path));
        let (whole, _) = run(&objective, &first);
        let mut heard = Heard { stop_after: 1, ..Heard::default() };
        objective.run(&first, None, &Control::default(), &mut heard);
        let draft = heard.drafts.pop().expect("one for whoever goes on");
        assert_eq!((draft.epoch, draft.last, heard.drafts.len()), (Epoch(1), false, 0));
        let file = (draft.write)().expect("a file");

        let again = |work: &FoldWork, file: &[u8], epoch: u32| {
            let start = Some(StartPoint { epoch: Epoch(epoch), digest: String::new() });
            let (work, mut heard) = (FoldWork { start, ..work.clone() }, Heard::default());
            let outcome = objective.run(&work, Some(file.to_vec()), &Control::default(), &mut heard);
            (heard.epochs, outcome)
        };
        let losses = |epochs: &[EpochReport]| {
            let losses = epochs.iter().map(|report| (report.epoch, report.validation_loss.to_bits()));
            losses.collect::<Vec<_>>()
        };
        let (epochs, outcome) = again(&first, &file, 1);
        assert_eq!(outcome, Outcome::Finished { stopped: false });
        assert_eq!(losses(&epochs), losses(&whole[1..]));

        let mut other = first.clone();
        other.params.insert("learning_rate".into(), ParamValue::Float(2e-3));
        let other_seed = FoldWork { seed: 6, ..first.clone() };
        let other_fold = FoldWork { key: AttemptKey { fold: FoldIndex(2), ..first.key }, ..first.clone() };
        for (work, epoch, words) in [
            (other, 1, "another training"),
            (other_seed, 1, "another training"),
            (other_fold, 1, "another training"),
            (first.clone(), 2, "epoch 1, not of epoch 2"),
        ] {
            let (epochs, outcome) = again(&work, &file, epoch);
            assert_eq!(epochs, [], "never from scratch");
            let (class, text) = message(outcome);
            assert_eq!(class, Some(FailureClass::Error), "{text}");
            assert!(text.starts_with("the checkpoint cannot be used: ") && text.contains(words), "{text}");
        }
        let (epochs, outcome) = again(&first, &file[..file.len() / 2], 1);
        assert_eq!((epochs.len(), message(outcome).0), (0, Some(FailureClass::Error)));
    }

    #[test]
    fn other_data_is_declined_with_both_digests() {
        let (_folder, path) = folder(0);
        let (_other_folder, other) = folder(1);
        let mut work = work(&path);
        let expected = work.study.data_digest.clone();
        work.study = Arc::new(StudyWork {
            spec: work.study.spec.replace(&path.display().to_string(), &other.display().to_string()),
            ..(*work.study).clone()
        });
        let objective = objective();
        let (class, text) = message(run(&objective, &work).1);
        let here = Dataset::open(&other.display().to_string(), &Locations::new(None, None)).expect("data");
        assert_eq!(class, None);
        assert!(text.contains(&expected) && text.contains(here.digest()), "{text}");
        assert!(lock(&objective.opened).is_empty(), "it is looked at again the next time");
    }

    #[test]
    fn other_splits_are_declined_with_both_digests() {
        let (_folder, path) = folder(0);
        let mut work = work(&path);
        let here = work.study.splits_digest.clone();
        work.study = Arc::new(StudyWork { splits_digest: "abc".into(), ..(*work.study).clone() });
        let (class, text) = message(run(&objective(), &work).1);
        assert_eq!(class, None);
        assert!(text.contains(&here) && text.contains("abc"), "{text}");
    }

    #[test]
    fn missing_data_is_declined() {
        let (_folder, path) = folder(0);
        let mut work = work(&path);
        let spec = work.study.spec.replace(&path.display().to_string(), "/nowhere/at/all");
        work.study = Arc::new(StudyWork { spec, ..(*work.study).clone() });
        let (class, text) = message(run(&objective(), &work).1);
        assert_eq!(class, None);
        assert!(text.contains("/nowhere/at/all"), "{text}");
    }

    #[test]
    fn what_no_worker_can_train_is_invalid() {
        let (_folder, path) = folder(0);
        let good = work(&path);
        let unresolved = FoldWork { params: Params::new(), ..good.clone() };
        let wrong = FoldWork {
            params: Params::from([("learning_rate".into(), ParamValue::Text("fast".into()))]),
            ..good.clone()
        };
        let fold = FoldWork { key: AttemptKey { fold: FoldIndex(3), ..good.key }, ..good.clone() };
        let spec =
            FoldWork { study: Arc::new(StudyWork { spec: "{".into(), ..(*good.study).clone() }), ..good };
        for (work, words) in
            [(unresolved, "learning_rate"), (wrong, "learning_rate"), (fold, "no fold 3"), (spec, "spec")]
        {
            let (class, text) = message(run(&objective(), &work).1);
            assert_eq!(class, Some(FailureClass::Invalid), "{text}");
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn a_lack_of_memory_has_a_class_of_its_own() {
        let error = |text: &str| failed(&tch::TchError::Torch(text.into()).into());
        let (class, text) = message(error("CUDA out of memory. Tried to allocate 2.00 GiB.\nframe #0"));
        assert_eq!(class, Some(FailureClass::OutOfMemory));
        assert_eq!(text, "out of memory: CUDA out of memory. Tried to allocate 2.00 GiB.");
        assert_eq!(message(error("a kernel failed")).0, Some(FailureClass::Error));
    }

    #[test]
    fn a_divergence_is_reported_and_fails() {
        let (_folder, path) = folder(0);
        let mut work = work(&path);
        work.params.insert("learning_rate".into(), ParamValue::Float(1e6));
        work.params.insert("weight_decay".into(), ParamValue::Float(1e6));
        let spec = work.study.spec.replace(r#""epochs":2"#, r#""epochs":200"#);
        work.study = Arc::new(StudyWork { spec, ..(*work.study).clone() });
        let (epochs, outcome) = run(&objective(), &work);
        let (class, text) = message(outcome);
        assert_eq!(class, Some(FailureClass::Diverged), "{text}");
        let last = epochs.last().expect("an epoch");
        assert!(!last.train_loss.is_finite() || !last.validation_loss.is_finite());
        assert!(text.starts_with(&format!("epoch {}: ", last.epoch)), "{text}");
    }
}
