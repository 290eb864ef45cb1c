//! `foldwise run` and `foldwise resume`: a coordinator, its workers and a live view, until the study ends.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldwise_data::{Dataset, Locations};
use foldwise_engine::scheduler::{Event, NewStudy, OpenLeases};
use foldwise_shared::record::{StudyEvent, StudyRecord};
use foldwise_shared::spec::{BudgetSection, StudySpec, differences};
use foldwise_shared::state::StudyState;
use tokio::net::TcpListener;
use tokio::sync::broadcast::error::RecvError;

use super::args::{Device, ResumeArgs, RunArgs, WorkersArgs};
use super::error::CliError;
use super::live::{LiveInfo, LiveKind, LiveView};
use super::signals::Signals;
use super::source::unknown_study;
use super::study::read_file;
use super::summary::Summary;
use super::{next, render, say};
use crate::coordinator::{self, Coordinator, LoopThread, Options, Published, Sources, find_study, prepare};
use crate::local::{Crew, Happening, Program, Wanted};
use crate::model_file::ModelFile;
use crate::server::{self, Security, Token, Tokens};
use crate::store::{Reader, Store, StoreError, TrialQuery};

/// Runs a study file until its study ends.
///
/// # Errors
/// A file, a database or a data set that cannot work, a study that fails, or an interruption.
pub fn run(args: RunArgs) -> Result<(), CliError> {
    let overrides = args.overlay.overrides();
    let (text, spec) = read_file(&args.file, &overrides)?;
    check_trained(&spec, &args.database.path)?;
    let sources = Sources::of(&args.database.path);
    let study = prepare(&text, &overrides, &Locations::from_env(), &sources)
        .map_err(|error| CliError::create(&args.file, error))?;
    let program = Program::find().map_err(CliError::local)?;
    let database = &args.database.path;
    let name = study.spec.study.name.clone();
    // A reader looks first, so that a file that is refused finds the database untouched.
    let stored = match Reader::open_mended(database) {
        Ok(reader) => reader.study(&name)?,
        Err(StoreError::NotFound { .. } | StoreError::Empty { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    if let Some(stored) = &stored {
        let earlier = Reader::open(database)?.earlier_budgets(stored.id)?;
        compare(stored, &earlier, &study, &args.file, database)?;
    }
    let new = if stored.is_some() { None } else { Some(study) };
    let store = Store::open(database)?;
    let again = resume_command(database, &name);
    let elapsed = conduct(Run {
        store,
        database,
        name: name.clone(),
        new,
        model: None,
        program,
        workers: &args.workers,
        again,
    })?;
    report(database, &name, elapsed)
}

fn resume_command(database: &Path, name: &str) -> String {
    next::resume(&next::database(database), name).command
}

/// Goes on with a study that has not ended.
///
/// # Errors
/// There is none, there are several and none is named, and whatever stops a run.
pub fn resume(args: ResumeArgs) -> Result<(), CliError> {
    let database = &args.database.path;
    let study = choose(Reader::open_mended(database)?.studies()?, args.study.as_deref())?;
    check_trained(
        &StudySpec::from_json(&study.spec).map_err(|error| CliError::Other(error.into()))?,
        database,
    )?;
    if study.state != StudyState::Ended {
        check_data(&study)?;
    }
    let name = study.name;
    let program = Program::find().map_err(CliError::local)?;
    let store = Store::open(database)?;
    let again = resume_command(database, &name);
    let elapsed = conduct(Run {
        store,
        database,
        name: name.clone(),
        new: None,
        model: None,
        program,
        workers: &args.workers,
        again,
    })?;
    report(database, &name, elapsed)
}

/// The study that is meant: the one named, or the only one that has not ended.
pub(super) fn choose(studies: Vec<StudyRecord>, named: Option<&str>) -> Result<StudyRecord, CliError> {
    if let Some(name) = named {
        let found = studies.iter().find(|study| study.name == name).cloned();
        return found.ok_or_else(|| unknown_study(name, &studies));
    }
    let open: Vec<&StudyRecord> = studies.iter().filter(|study| study.state != StudyState::Ended).collect();
    match open.as_slice() {
        [only] => Ok(StudyRecord::clone(only)),
        [] => Err(CliError::usage("every study in this database has ended; there is nothing to go on with")),
        several => Err(CliError::usage(format!(
            "{} studies have not ended; name one of them: {}",
            several.len(),
            several.iter().map(|study| study.name.as_str()).collect::<Vec<_>>().join(", ")
        ))),
    }
}

/// Refuses a study whose trials no worker of ours can evaluate.
fn check_trained(spec: &StudySpec, database: &Path) -> Result<(), CliError> {
    if !spec.is_external() {
        return Ok(());
    }
    let (name, place) = (&spec.study.name, next::database(database));
    Err(CliError::Usage {
        message: format!(
            "the study `{name}` has an external objective: your own program evaluates its trials"
        ),
        help: Some(format!(
            "record it with `foldwise study create FILE{place}`, then `foldwise trial ask {name}{place}` gives out a \
             trial; with `foldwise serve{place}` many programs can ask at once, over gRPC"
        )),
    })
}

/// Makes sure that the study's data is here, before a worker finds that it is not.
pub(super) fn check_data(study: &StudyRecord) -> Result<(), CliError> {
    let spec = StudySpec::from_json(&study.spec).map_err(|error| CliError::Other(error.into()))?;
    let dataset = Dataset::open(spec.dataset(), &Locations::from_env())?;
    if dataset.digest() == study.data_digest {
        return Ok(());
    }
    Err(CliError::usage(format!(
        "the data {} on this machine is not the study's: SHA-256 {} is stored, {} is found",
        spec.dataset(),
        study.data_digest,
        dataset.digest()
    )))
}

/// Refuses a file that is not what is stored under its name. The budget may also be one that the study had before it was
/// extended: the file is the same, and the study goes on with what it has now.
fn compare(
    stored: &StudyRecord,
    earlier: &[BudgetSection],
    given: &NewStudy,
    file: &Path,
    database: &Path,
) -> Result<(), CliError> {
    let spec = StudySpec::from_json(&stored.spec).map_err(|error| CliError::Other(error.into()))?;
    let mut found = differences(&spec, &given.spec);
    if earlier.contains(&given.spec.budget) {
        found.retain(|difference| !difference.key.starts_with("budget."));
    }
    let budget_alone =
        !found.is_empty() && found.iter().all(|difference| difference.key.starts_with("budget."));
    let mut lines: Vec<String> = found.iter().map(|difference| format!("  {difference}")).collect();
    if stored.data_digest != given.data.data_digest {
        lines.push(format!(
            "  the data: SHA-256 {} is stored, {} is found",
            stored.data_digest, given.data.data_digest
        ));
    }
    if lines.is_empty() {
        return Ok(());
    }
    let name = &stored.name;
    let place = next::database(database);
    let longer = if budget_alone {
        format!("`foldwise study extend {name}{place}` gives it a larger budget; or ")
    } else {
        String::new()
    };
    Err(CliError::Usage {
        message: format!(
            "{}: the study `{name}` in {} is another one:\n{}",
            file.display(),
            database.display(),
            lines.join("\n")
        ),
        help: Some(format!(
            "{longer}give this one another name (--set study.name=...) or take another database (--db); the stored \
             one: foldwise study show {name}{place}"
        )),
    })
}

/// A study that is to be run to its end, here.
pub(super) struct Run<'a> {
    /// Its database, which nobody else holds.
    pub store: Store,
    /// Where that is.
    pub database: &'a Path,
    /// The study's name.
    pub name: String,
    /// The study itself, if it is not there yet.
    pub new: Option<NewStudy>,
    /// The model that it starts from, if that is not among the artifacts yet.
    pub model: Option<ModelFile>,
    /// The program of the workers.
    pub program: Program,
    /// How many there are to be, and of what kind.
    pub workers: &'a WorkersArgs,
    /// What goes on with it after an interruption.
    pub again: String,
}

/// Runs a study to its end and says how long that took.
pub(super) fn conduct(run: Run<'_>) -> Result<Duration, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let started = Instant::now();
    let mut thread = None;
    let outcome = runtime.block_on(drive(run, &mut thread));
    runtime.shutdown_timeout(Duration::from_secs(1));
    // Why the loop ended says more than that it did.
    thread.map_or(Ok(()), coordinator::join)?;
    outcome?;
    Ok(started.elapsed())
}

/// Puts a model among the artifacts and records the study that starts from it.
async fn create(
    coordinator: &Coordinator,
    study: NewStudy,
    model: Option<ModelFile>,
) -> Result<StudyRecord, CliError> {
    // Until the study refers to it, it is there only because we hold it.
    let held = match model {
        Some(model) => {
            let artifacts = Arc::clone(coordinator.artifacts());
            let put = tokio::task::spawn_blocking(move || artifacts.put(&model.artifact(), model.bytes()));
            let put = put.await.map_err(anyhow::Error::from)?;
            Some(put.map_err(|error| CliError::Happened { message: error.to_string(), help: None })?)
        }
        None => None,
    };
    let study = coordinator.create(study).await?;
    drop(held);
    Ok(study)
}

/// What came of a study that has ended.
fn report(database: &Path, name: &str, elapsed: Duration) -> Result<(), CliError> {
    let reader = Reader::open(database)?;
    let study = find_study(&reader, name)?;
    let trials = reader.trials(study.id, &TrialQuery::default())?;
    let spec = StudySpec::from_json(&study.spec).map_err(|error| CliError::Other(error.into()))?;
    let ledger = reader.ledger(study.id)?;
    let summary = Summary { spec: &spec, study: &study, trials: &trials, ledger: &ledger, database, elapsed };
    say(&format!("\n{}", summary.account()));
    let Some(best) = summary.best() else {
        return Err(CliError::Happened {
            message: format!("no trial of `{name}` is complete, so there is no best one"),
            help: Some(format!("see why: foldwise trial list {name}{}", next::database(database))),
        });
    };
    render::to_stdout(|out| writeln!(out, "{best}"))?;
    say(&format!("\n{}", summary.next()));
    Ok(())
}

/// The devices that the flags ask for.
fn wanted(workers: &WorkersArgs) -> Wanted {
    match (workers.fake_devices, workers.device) {
        (Some(count), _) => Wanted::Fake(count),
        (None, Device::Auto) => Wanted::Auto,
        (None, device) => Wanted::One(device.to_string()),
    }
}

/// Starts everything, and ends everything when the study does.
async fn drive(run: Run<'_>, thread: &mut Option<LoopThread>) -> Result<(), CliError> {
    let signals = Signals::new()?;
    let devices = run.program.devices(wanted(run.workers), run.workers.count).await;
    let devices = devices.map_err(CliError::local)?;
    let options =
        Options { open_leases: OpenLeases::Ended, only: Some(run.name.clone()), ..Options::default() };
    let (coordinator, started) = Coordinator::start(run.store, run.database, options)?;
    let thread = thread.insert(started);
    let study = match run.new {
        Some(study) => create(&coordinator, study, run.model).await?,
        None => coordinator.study(&run.name).await?,
    };
    if study.state == StudyState::Ended {
        let why = study.message.map(|message| format!(" ({message})")).unwrap_or_default();
        say(&format!("the study {} has ended already{why}; nothing is left to train", run.name));
        next::show(&[next::extend(&next::database(run.database), &run.name)]);
        return Ok(());
    }
    let events = coordinator.subscribe();
    if study.state == StudyState::Paused {
        coordinator.request(Event::UnpauseStudy(study.id)).await?;
    }
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let token = Token::random();
    let security = Security { tokens: Tokens::single(&token), ..Security::default() };
    let server = tokio::spawn(server::serve(listener, coordinator.clone(), security));

    let view = open_view(&coordinator, &study, &devices, run.workers.plain).await?;
    let crew = Crew::start(&run.program, &url, token.reveal(), &devices);
    let watcher = Watcher { coordinator, study, view, crew, signals, thread, again: run.again };
    let outcome = watcher.watch(events).await;
    server.abort();
    outcome
}

async fn open_view(
    coordinator: &Coordinator,
    study: &StudyRecord,
    devices: &[String],
    plain: bool,
) -> Result<LiveView, CliError> {
    let id = study.id;
    let trials = coordinator.read(move |reader| Ok(reader.trials(id, &Default::default())?)).await?;
    let spec = StudySpec::from_json(&study.spec).map_err(|error| CliError::Other(error.into()))?;
    let workers = (0..devices.len()).map(|index| format!("w{index}")).collect();
    let kind = LiveKind::choose(plain, tracing::enabled!(tracing::Level::INFO));
    Ok(LiveView::new(LiveInfo { spec, study: study.clone(), trials, workers }, kind))
}

struct Watcher<'a> {
    coordinator: Coordinator,
    study: StudyRecord,
    view: LiveView,
    crew: Crew,
    signals: Signals,
    thread: &'a LoopThread,
    again: String,
}

/// How a run ended.
enum End {
    /// The study is over.
    Ended,
    /// The study was paused, by a wrong setting for example.
    Paused(Option<String>),
    /// A person interrupted it, and what ran is recorded.
    Interrupted,
    /// It cannot go on.
    Broken(String),
}

impl Watcher<'_> {
    async fn watch(mut self, events: tokio::sync::broadcast::Receiver<Published>) -> Result<(), CliError> {
        let end = self.until_end(events).await;
        self.view.finish();
        self.crew.end().await;
        let resume = &self.again;
        match end {
            End::Ended => Ok(()),
            End::Interrupted => Err(CliError::Interrupted { help: format!("go on with: {resume}") }),
            End::Paused(message) => Err(CliError::Happened {
                message: format!("the study is paused: {}", message.unwrap_or_default()),
                help: Some(format!("once that is mended, go on with: {resume}")),
            }),
            End::Broken(message) => {
                Err(CliError::Happened { message, help: Some(format!("go on with: {resume}")) })
            }
        }
    }

    async fn until_end(&mut self, mut events: tokio::sync::broadcast::Receiver<Published>) -> End {
        let mut draining = false;
        let mut gave_up = String::new();
        let mut alive = tokio::time::interval(Duration::from_secs(1));
        let (drained_sender, mut drained) = tokio::sync::mpsc::channel::<()>(1);
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Ok((id, event)) if id == self.study.id => {
                        self.view.on_event(&event);
                        if let Some(end) = end_of(&event) {
                            return end;
                        }
                    }
                    Ok(_) => {}
                    Err(RecvError::Lagged(missed)) => tracing::debug!(missed, "the view fell behind"),
                    Err(RecvError::Closed) => return End::Broken("the coordinator's loop ended".into()),
                },
                happening = self.crew.next() => match happening {
                    Some(happening) => {
                        if let Happening::GaveUp { worker, why } = &happening {
                            gave_up = format!("{worker} ended with {why}");
                        }
                        if let Some(end) = self.on_worker(happening).await {
                            return end;
                        }
                    }
                    None => return End::Broken(format!("no worker is left: {gave_up}")),
                },
                by_hand = self.signals.next() => {
                    // Schedulers send TERM two or three times for one drain; only a person is in a hurry.
                    match draining {
                        true if by_hand => return End::Interrupted,
                        true => continue,
                        false => {}
                    }
                    draining = true;
                    self.view.message("stopping: running epochs end and are recorded; Ctrl-C once more stops at once");
                    let (coordinator, sender) = (self.coordinator.clone(), drained_sender.clone());
                    tokio::spawn(async move {
                        // A loop that is gone has nothing left to record either.
                        drop(coordinator.drain().await);
                        let _ = sender.send(()).await;
                    });
                }
                _ = drained.recv() => return End::Interrupted,
                _ = alive.tick() => {
                    self.view.tick();
                    if self.thread.is_finished() {
                        return End::Broken("the coordinator's loop ended".into());
                    }
                }
            }
        }
    }

    async fn on_worker(&mut self, happening: Happening) -> Option<End> {
        match happening {
            Happening::Line { worker, line } => {
                self.view.message(&format!("{worker}: {line}"));
                None
            }
            Happening::Died { worker, how } => {
                self.view.message(&format!("{worker} ended ({how}); its fold goes to another"));
                self.coordinator
                    .tell(Event::WorkerDied { name: worker })
                    .await
                    .err()
                    .map(|error| End::Broken(error.to_string()))
            }
            Happening::GaveUp { worker, why } => {
                self.view.message(&format!("{worker} is not started again ({why})"));
                None
            }
        }
    }
}

fn end_of(event: &Arc<StudyEvent>) -> Option<End> {
    match event.as_ref() {
        StudyEvent::StudyChanged { state: StudyState::Ended, .. } => Some(End::Ended),
        StudyEvent::StudyChanged { state: StudyState::Paused, message } => Some(End::Paused(message.clone())),
        _ => None,
    }
}
