//! What a simulated cluster is made of, drawn from a seed: studies, workers and how much goes wrong.

use std::sync::OnceLock;

use foldwise_shared::ids::{FoldIndex, TrialNumber};
use foldwise_shared::model::LearningRate;
use foldwise_shared::spec::{Keep, Objective, Release, SamplerKind, StudySpec, with_pruner};
use foldwise_shared::state::Direction;

use super::super::{DataInfo, NewStudy};

/// SplitMix64 (Steele, Lea and Flood, 2014): small, and the same everywhere.
#[derive(Clone)]
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + (self.next() % (high - low + 1) as u64) as i64
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.next() as usize % of.len()]
    }
}

/// A number in [0, 1) that depends on the words alone.
fn unit(words: &[u64]) -> f64 {
    let mut rng = Rng(0);
    for word in words {
        rng.0 ^= *word;
        rng.0 = rng.next();
    }
    (rng.next() >> 11) as f64 / (1u64 << 53) as f64
}

/// What a trial is like, whoever trains it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Nature {
    seed: u64,
    number: TrialNumber,
}

impl Nature {
    pub fn of(spec: &StudySpec, number: TrialNumber) -> Self {
        Self { seed: spec.study.seed, number }
    }

    fn draw(self, purpose: u64) -> f64 {
        unit(&[self.seed, u64::from(self.number.0), purpose])
    }

    /// The validation loss after an epoch; NaN from some epoch on for one trial in 20.
    pub fn loss(self, fold: FoldIndex, epoch: u32) -> f64 {
        if self.draw(1) < 0.05 && f64::from(epoch) > 4.0 * self.draw(2) {
            return f64::NAN;
        }
        let noise = unit(&[self.seed, u64::from(self.number.0), u64::from(fold.0), u64::from(epoch)]);
        self.draw(3) + 1.0 / f64::from(epoch) + 0.2 * noise
    }

    /// Whether it kills the worker that trains it.
    pub fn is_poison(self) -> bool {
        self.draw(4) < 0.02
    }
}

pub struct Plan {
    pub seed: u64,
    pub studies: Vec<NewStudy>,
    /// Slots and milliseconds an epoch.
    pub workers: Vec<(u32, i64)>,
    /// Programs that ask for trials.
    pub askers: usize,
    pub lease_ms: i64,
    /// Milliseconds between two faults on average; none if all goes well.
    pub fault_every: Option<i64>,
    /// When the faults end.
    pub calm_at: i64,
}

impl Plan {
    /// Everything random.
    pub fn random(seed: u64) -> Self {
        let mut rng = Rng(seed);
        let studies: Vec<NewStudy> =
            (0..rng.pick(&[1, 1, 2, 3])).map(|_| new_study(random_spec(&mut rng))).collect();
        let workers =
            (0..rng.between(1, 6)).map(|_| (rng.between(1, 3) as u32, rng.between(100, 3_000))).collect();
        let lease_ms = rng.pick(&[2_000, 10_000, 30_000]);
        let fault_every = (!rng.chance(10)).then(|| rng.pick(&[300, 1_000, 5_000, 20_000]));
        let calm_at = rng.between(1_000, 120_000);
        let external = studies.iter().any(|study| study.spec.is_external());
        let askers = if external { rng.between(1, 4) as usize } else { 0 };
        Self { seed, studies, workers, askers, lease_ms, fault_every, calm_at }
    }
}

pub fn new_study(spec: StudySpec) -> NewStudy {
    let data = DataInfo {
        data_digest: "data".into(),
        splits_digest: "splits".into(),
        images: 100,
        height: 2,
        width: 2,
    };
    NewStudy { spec, spec_text: String::new(), data, parent: None, source: None }
}

/// A valid study of three folds of three epochs and four trials, without a pruner.
pub fn plain_spec() -> StudySpec {
    static PARSED: OnceLock<StudySpec> = OnceLock::new();
    let parse = || {
        let text = "version = 1\nstudy = { name = \"s\", seed = 7 }\ndata = { dataset = \"mnist\", folds = 3 }\n\
            model = { network = \"lab\", latent_dim = 4 }\ntrain = { epochs = 3 }\nbudget = { trials = 4 }\n\
            [space]\nlearning_rate = { float = [1e-4, 1e-1], log = true }\nbatch_size = { choice = [32, 64, 128] }\n";
        foldwise_shared::spec::parse(text, &[]).expect("a study file")
    };
    PARSED.get_or_init(parse).clone()
}

pub fn use_median(spec: &mut StudySpec, startup_trials: u32, warmup_epochs: u32) {
    let text = format!("median,startup_trials={startup_trials},warmup_epochs={warmup_epochs}");
    *spec = with_pruner(spec, &text, &[]).expect("a pruner");
}

/// Any kind with any settings; none where those could never act in this study.
pub fn use_random_pruner(spec: &mut StudySpec, rng: &mut Rng) {
    let peers = |rng: &mut Rng| {
        let (startup, warmup) = (rng.between(0, 4), rng.between(0, 2));
        let (interval, least) = (rng.between(1, 2), rng.between(1, 2));
        format!(
            "startup_trials={startup},warmup_epochs={warmup},interval_epochs={interval},min_peers={least}"
        )
    };
    let ladder = |rng: &mut Rng| {
        let (min, factor, bootstrap) = (rng.between(1, 2), rng.between(2, 4), rng.pick(&[0, 0, 1]));
        format!("min_resource={min},reduction_factor={factor},bootstrap_trials={bootstrap}")
    };
    let text = match rng.between(0, 7) {
        0 => format!("median,{}", peers(rng)),
        1 => format!("percentile,percentile={},{}", rng.between(10, 90), peers(rng)),
        2 => format!("paired,percentile={},{}", rng.between(30, 70), peers(rng)),
        3 => format!("successive-halving,min_early_stopping_rate={},{}", rng.between(0, 1), ladder(rng)),
        4 => format!("hyperband,{}", ladder(rng)),
        5 => format!("threshold,lower=0.1,upper=1.9,warmup_epochs={}", rng.between(0, 1)),
        6 => format!("patience,patience={}", rng.between(0, 2)),
        _ => format!("sequential,startup_trials={},alpha=0.5", rng.between(2, 4)),
    };
    let patience = if text.starts_with("sequential") || text.starts_with("patience") || rng.chance(70) {
        String::new()
    } else {
        format!(",patience={}", rng.between(0, 1))
    };
    if let Ok(other) = with_pruner(spec, &format!("{text}{patience}"), &[]) {
        *spec = other;
    }
}

/// Often those that are quick: a suggestion of a Gaussian process takes milliseconds.
const SAMPLERS: [SamplerKind; 16] = {
    use SamplerKind::{Auto, Gp, Grid, Random, Sobol, Tpe};
    [Random, Random, Random, Random, Random, Random, Sobol, Sobol, Tpe, Tpe, Tpe, Grid, Grid, Grid, Gp, Auto]
};

/// The same trials, evaluated by programs that ask for them.
pub fn make_external(spec: &mut StudySpec) {
    spec.study.objective = Objective::External;
    (spec.data.dataset, spec.model.network) = (None, None);
    (spec.data.folds, spec.data.holdout) = (spec.data.folds.filter(|folds| *folds > 1), None);
    let least = u64::from(spec.lease_epochs());
    spec.budget.total_epochs = spec.budget.total_epochs.map(|total| total.max(least));
}

pub fn random_spec(rng: &mut Rng) -> StudySpec {
    let mut spec = plain_spec();
    spec.study.seed = rng.next();
    spec.study.direction = rng.pick(&[Direction::Minimize, Direction::Minimize, Direction::Maximize]);
    match rng.between(1, 4) {
        1 => (spec.data.folds, spec.data.holdout) = (None, Some(10)),
        folds => spec.data.folds = Some(folds as u32),
    }
    spec.data.release = rng.pick(&[Release::Auto, Release::All, Release::Race]);
    spec.train.epochs = Some(rng.between(1, 6) as u32);
    if rng.chance(60) {
        use_random_pruner(&mut spec, rng);
    }
    spec.sampler.kind = rng.pick(&SAMPLERS);
    match spec.sampler.kind {
        SamplerKind::Grid => spec.sampler.points = Some(rng.between(1, 3) as u32),
        SamplerKind::Random | SamplerKind::Sobol => {}
        _ => spec.sampler.startup_trials = Some(rng.between(1, 5) as u32),
    }
    let whole_trial = spec.folds() * spec.epochs();
    spec.budget.trials =
        (rng.chance(70) || spec.sampler.kind == SamplerKind::Grid).then(|| rng.between(1, 12) as u32);
    spec.budget.total_epochs = (spec.budget.trials.is_none() || rng.chance(40))
        .then(|| rng.between(i64::from(spec.epochs()), i64::from(whole_trial) * 8) as u64);
    spec.budget.wall_time = rng.chance(30).then(|| format!("{}ms", rng.between(500, 60_000)));
    if spec.sampler.kind == SamplerKind::Grid && rng.chance(50) {
        spec.budget.trials = None;
    }
    if rng.chance(25) {
        make_external(&mut spec);
    }
    if !spec.is_external() && rng.chance(30) {
        spec.train.learning_rate = Some(LearningRate::Find);
        // It would be searched and found.
        spec.space.0.remove("learning_rate");
    }
    spec.checkpoint.keep =
        rng.pick(&[Keep::Unfinished, Keep::Unfinished, Keep::Unfinished, Keep::None, Keep::All]);
    spec
}
