//! The learning-rate range test (Smith, Cyclical Learning Rates for Training Neural Networks, arXiv 1506.01186, section 3.3, and
//! arXiv 1708.07120): a short training in which the learning rate grows from step to step. Where the smoothed loss falls
//! steepest, a learning rate is large and not yet too large. The details are those of fastai's and PyTorch Lightning's `lr_find`.

use foldwise_shared::model::{LearningRate, Schedule, TrialSettings};
use serde::Serialize;

use super::{Draws, TrainError, Trainer};
use crate::images::DeviceImages;

/// The first and the last learning rate.
const RATES: (f64, f64) = (1e-7, 10.0);
/// Steps at most; each learning rate is this many-th root of their ratio above the one before.
const STEPS: usize = 200;
/// How much of the smoothed loss stays with each step.
const SMOOTHING: f64 = 0.95;
/// It ends once the smoothed loss is so many times the best.
const DIVERGENCE: f64 = 4.0;
/// Points at the start that are not chosen from: the mean there is one of a few batches.
const SKIP_FIRST: usize = 10;
/// Points at the end that are not chosen from: the loss rises there.
const SKIP_LAST: usize = 5;

/// The curve of a range test; its JSON is the file that is kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RangeTest {
    /// The learning rate of each step.
    pub learning_rate: Vec<f64>,
    /// The loss of its batch, before the step.
    pub loss: Vec<f64>,
    /// The exponential moving average of the losses up to there, corrected for its start at 0.
    pub smoothed: Vec<f64>,
    /// The learning rate at the steepest descent of the smoothed loss.
    pub chosen: f64,
}

/// Finds the learning rate of a fold with its own first weights and training images, over which it goes again where they are
/// fewer than 200 batches. None if `interrupt`, asked before each batch, said so. The training after it starts from the
/// same weights and draws as one whose learning rate was given.
///
/// # Errors
/// As [`Trainer`]; [`TrainError::Diverged`] if no learning rate makes the loss fall.
pub fn range_test(
    images: &DeviceImages,
    train: &[i64],
    settings: &TrialSettings,
    seed: u64,
    interrupt: &dyn Fn() -> bool,
) -> Result<Option<RangeTest>, TrainError> {
    range_test_of(|settings| Trainer::new(images, train, settings, seed), settings, seed, interrupt)
}

/// As [`range_test`], with a trainer of anything, which is made for the settings of the test.
///
/// # Errors
/// As [`range_test`].
pub fn range_test_of<'a>(
    make: impl FnOnce(&TrialSettings) -> Result<Trainer<'a>, TrainError>,
    settings: &TrialSettings,
    seed: u64,
    interrupt: &dyn Fn() -> bool,
) -> Result<Option<RangeTest>, TrainError> {
    let settings = TrialSettings {
        learning_rate: LearningRate::Fixed(RATES.0),
        schedule: Schedule::Constant,
        ..settings.clone()
    };
    let mut trainer = make(&settings)?;
    Draws::RangeTest.seed(seed);
    let mut order = trainer.shuffle()?;
    let mut start = 0;
    search(|rate| {
        if interrupt() {
            return Ok(None);
        }
        if start >= order.size1()? {
            (order, start) = (trainer.shuffle()?, 0);
        }
        let batch = trainer.batch(&order, start)?;
        start += trainer.batch_size();
        Ok(Some(trainer.step(&batch, rate)?.f_double_value(&[])?))
    })
}

/// The range test of any training: `step` takes one step with a learning rate and gives the loss before it, or none to end
/// without a result.
///
/// # Errors
/// Those of `step`; [`TrainError::Diverged`] if no learning rate makes the loss fall.
pub fn search(
    mut step: impl FnMut(f64) -> Result<Option<f64>, TrainError>,
) -> Result<Option<RangeTest>, TrainError> {
    let growth = (RATES.1 / RATES.0).powf(1.0 / (STEPS - 1) as f64);
    let (mut rates, mut losses, mut smoothed) = (Vec::new(), Vec::new(), Vec::new());
    let (mut average, mut best, mut rate) = (0.0, f64::INFINITY, RATES.0);
    for number in 1..=STEPS as i32 {
        let Some(loss) = step(rate)? else { return Ok(None) };
        if !loss.is_finite() {
            break;
        }
        average = SMOOTHING * average + (1.0 - SMOOTHING) * loss;
        let corrected = average / (1.0 - SMOOTHING.powi(number));
        rates.push(rate);
        losses.push(loss);
        smoothed.push(corrected);
        best = corrected.min(best);
        if corrected > DIVERGENCE * best {
            break;
        }
        rate *= growth;
    }
    let Some(chosen) = steepest(&smoothed) else {
        let tried = losses.len();
        return Err(TrainError::Diverged(format!(
            "the range test found no learning rate that makes the loss fall: after {tried} steps, from {:e} up, it was {}; \
             give learning_rate a number",
            RATES.0,
            losses.last().map_or_else(|| "no number".to_owned(), |loss| format!("{loss:.6}")),
        )));
    };
    let chosen = rates.get(chosen).copied().unwrap_or(RATES.0);
    Ok(Some(RangeTest { learning_rate: rates, loss: losses, smoothed, chosen }))
}

/// The point of the steepest descent, by differences of the neighbors; the points are evenly apart in the logarithm of the
/// learning rate.
fn steepest(smoothed: &[f64]) -> Option<usize> {
    let last = smoothed.len().checked_sub(SKIP_LAST + 1)?;
    (SKIP_FIRST..=last)
        .filter_map(|at| Some((at, smoothed.get(at + 1)? - smoothed.get(at.checked_sub(1)?)?)))
        .filter(|(_, slope)| *slope < 0.0)
        .min_by(|(_, one), (_, other)| one.total_cmp(other))
        .map(|(at, _)| at)
}
