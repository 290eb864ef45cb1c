//! What a fitted model is worth: its errors on images it has not seen, as they are and corrupted, and how its codes lie.

mod artifact;
mod codes;
mod errors;
mod pictures;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Instant;

use foldwise_shared::spec::{Corruption, EvaluateSection, Gaussian, Occlusion};
use tch::Tensor;

use crate::embed::EmbedError;
use crate::fitted::FittedModel;
use crate::images::DeviceImages;
use crate::train::{TrainError, checked_indices, mix};

use self::artifact::{CodesFile, PicturesFile};
pub use self::artifact::{Levels, Summary, TsneSummary};
use self::codes::Mapped;
use self::errors::{Errors, errors};
use self::pictures::{Choice, Grid};

/// The deviation of the noise in the pictures.
pub const PICTURE_NOISE: f64 = 0.5;
/// The occluded share in the pictures.
pub const PICTURE_OCCLUSION: f64 = 0.2;

/// What is to be measured, and on what.
pub struct EvaluateTask<'a> {
    /// The model.
    pub model: &'a FittedModel,
    /// The images the errors are of.
    pub images: &'a DeviceImages,
    /// Which of them; all are on the device of the images.
    pub indices: &'a [i64],
    /// Their classes, one an index, where they are known.
    pub labels: Option<&'a [u8]>,
    /// What the classes are called, from 0; empty where nobody says.
    pub class_names: &'a [String],
    /// `test`; for a data set without test images `validation`, or `training` where no image is held out.
    pub part: &'static str,
    /// What the model was trained to undo.
    pub corruption: &'a [Corruption],
    /// What is measured.
    pub section: &'a EvaluateSection,
    /// Decides what is drawn: two models that are measured with the same seed get the same corrupted images.
    pub seed: u64,
}

/// What came of it.
pub struct Evaluation {
    /// The numbers.
    pub summary: Summary,
    /// The file of pictures.
    pub pictures: Vec<u8>,
    /// The file of codes.
    pub codes: Vec<u8>,
}

/// Why an evaluation ends without a result.
enum Halt {
    Interrupted,
    Failed(TrainError),
}

impl<E: Into<TrainError>> From<E> for Halt {
    fn from(error: E) -> Self {
        Halt::Failed(error.into())
    }
}

impl From<EmbedError> for TrainError {
    fn from(error: EmbedError) -> Self {
        TrainError::Invalid(error.to_string())
    }
}

/// Who is asked and told while it goes on.
struct Watch<'a> {
    interrupt: &'a dyn Fn() -> bool,
    phase: &'a mut dyn FnMut(&str),
    seconds: BTreeMap<String, f64>,
}

impl Watch<'_> {
    /// Ends the evaluation if somebody said so; asked between batches.
    fn go_on(&self) -> Result<(), Halt> {
        if (self.interrupt)() { Err(Halt::Interrupted) } else { Ok(()) }
    }

    /// Does one part, and takes its time.
    fn part<T>(&mut self, name: &str, part: impl FnOnce(&mut Self) -> Result<T, Halt>) -> Result<T, Halt> {
        (self.phase)(name);
        let started = Instant::now();
        let result = part(self)?;
        self.seconds.insert(name.to_owned(), started.elapsed().as_secs_f64());
        Ok(result)
    }
}

/// What libtorch's generator is seeded for, so that one more draw here shifts none there.
#[derive(Debug, Clone, Copy)]
enum Purpose {
    Noise,
    Occlusion,
    Own,
    RandomCodes,
    Tsne,
}

impl Purpose {
    fn seed_of(self, seed: u64) -> u64 {
        let number = match self {
            Self::Noise => 1_u64,
            Self::Occlusion => 2,
            Self::Own => 3,
            Self::RandomCodes => 4,
            Self::Tsne => 5,
        };
        mix(seed, number << 40)
    }

    fn seed(self, seed: u64) {
        tch::manual_seed(self.seed_of(seed).cast_signed());
    }
}

/// The error of a model per pixel over some images: of the training part, for the report.
///
/// # Errors
/// What libtorch says. None if `interrupt`, asked between batches, said so.
pub fn mean_error(
    model: &FittedModel,
    images: &DeviceImages,
    indices: &[i64],
    interrupt: &dyn Fn() -> bool,
) -> Result<Option<f64>, TrainError> {
    let watch = Watch { interrupt, phase: &mut |_| {}, seconds: BTreeMap::new() };
    let result = checked_indices("training", indices, images.len(), images.device())
        .map_err(Halt::from)
        .and_then(|indices| errors(model, images, &indices, &[], &watch));
    unless_interrupted(result.map(|errors| errors.mse))
}

/// Measures a model. None if `interrupt`, asked between batches and while codes are mapped, said so; `phase` hears what begins.
///
/// # Errors
/// [`TrainError::Invalid`] for what cannot be measured, such as a model that gives no finite numbers.
pub fn evaluate(
    task: &EvaluateTask<'_>,
    interrupt: &dyn Fn() -> bool,
    phase: &mut dyn FnMut(&str),
) -> Result<Option<Evaluation>, TrainError> {
    let watch = Watch { interrupt, phase, seconds: BTreeMap::new() };
    unless_interrupted(measure(task, watch))
}

fn unless_interrupted<T>(result: Result<T, Halt>) -> Result<Option<T>, TrainError> {
    match result {
        Ok(result) => Ok(Some(result)),
        Err(Halt::Interrupted) => Ok(None),
        Err(Halt::Failed(error)) => Err(error),
    }
}

fn measure(task: &EvaluateTask<'_>, mut watch: Watch<'_>) -> Result<Evaluation, Halt> {
    let _guard = tch::no_grad_guard();
    let EvaluateTask { model, images, section, .. } = *task;
    let indices = checked_indices(task.part, task.indices, images.len(), images.device())?;
    if task.labels.is_some_and(|labels| labels.len() != task.indices.len()) {
        return Err(TrainError::Invalid("there must be a label for each image".into()).into());
    }

    let Errors { mse, kl, loss } = watch.part("test", |watch| errors(model, images, &indices, &[], watch))?;
    if let Some(error) = [mse, loss].into_iter().chain(kl).find(|error| !error.is_finite()) {
        return Err(
            TrainError::Invalid(format!("the model's error is {error}; its weights are no good")).into()
        );
    }
    let under =
        |steps: &[Corruption], purpose: Purpose, what: &str, watch: &Watch<'_>| -> Result<f64, Halt> {
            purpose.seed(task.seed);
            let mse = errors(model, images, &indices, steps, watch)?.mse;
            if mse.is_finite() {
                return Ok(mse);
            }
            Err(TrainError::Invalid(format!("the model's error under {what} is {mse}; take less of it"))
                .into())
        };
    let noise = watch.part("noise", |watch| {
        levels(&section.noise, |level| {
            under(&[gaussian(level)], Purpose::Noise, &format!("noise of {level}"), watch)
        })
    })?;
    let occlusion = watch.part("occlusion", |watch| {
        levels(&section.occlusion, |level| {
            under(&[square(level)], Purpose::Occlusion, &format!("occlusion of {level}"), watch)
        })
    })?;
    let own = if task.corruption.is_empty() {
        None
    } else {
        Some(watch.part("own corruption", |watch| {
            under(task.corruption, Purpose::Own, "its own corruption", watch)
        })?)
    };

    let codes = watch.part("codes", |watch| codes::encode(task, &indices, watch))?;
    let Mapped { pca, tsne, knn_accuracy, silhouette, neighbors, mut skipped } =
        codes::map(task, &codes, &mut watch)?;

    let pictures = watch.part("pictures", |watch| pictures(task, &indices, &codes, watch))?;
    let classes = pictures.classes.clone();
    if !pictures::draws_codes(model, &codes) {
        skipped.push("random");
    }
    let summary = Summary {
        images: task.indices.len(),
        part: task.part,
        mse,
        kl,
        loss,
        own_corruption_mse: own,
        noise,
        occlusion,
        codes: codes.rows,
        class_names: task.class_names.to_vec(),
        classes,
        knn_accuracy,
        neighbors,
        silhouette,
        explained_variance: pca.as_ref().map(|pca| pca.explained_variance),
        tsne: tsne.as_ref().map(|tsne| tsne.summary.clone()),
        skipped,
        seconds: watch.seconds,
    };
    let file = CodesFile {
        codes: &codes,
        pca: pca.as_ref().map(|pca| &pca.points[..]),
        tsne: tsne.as_ref().map(|tsne| &tsne.points[..]),
    };
    Ok(Evaluation { summary, pictures: pictures.to_bytes()?, codes: file.to_bytes()? })
}

fn levels(levels: &[f64], mut error: impl FnMut(f64) -> Result<f64, Halt>) -> Result<Levels, Halt> {
    let mse = levels.iter().map(|level| error(*level)).collect::<Result<_, _>>()?;
    Ok(Levels { level: levels.to_vec(), mse })
}

fn gaussian(deviation: f64) -> Corruption {
    Corruption::Gaussian(Gaussian { probability: 1.0, deviation })
}

fn square(fraction: f64) -> Corruption {
    Corruption::Occlusion(Occlusion { probability: 1.0, fraction })
}

/// Every picture of a model.
fn pictures(
    task: &EvaluateTask<'_>,
    indices: &Tensor,
    codes: &codes::CodeTable,
    watch: &Watch<'_>,
) -> Result<PicturesFile, Halt> {
    let EvaluateTask { model, images, section, .. } = *task;
    let choice = Choice::new(task.labels, task.indices.len(), section.pictures as usize);
    let chosen = indices.f_index_select(0, &choice.positions(images.device())?)?;
    let mut file = PicturesFile::new(images.height(), images.width());
    let corrupted = [
        ("noise", vec![gaussian(PICTURE_NOISE)], Purpose::Noise),
        ("occlusion", vec![square(PICTURE_OCCLUSION)], Purpose::Occlusion),
        ("own", task.corruption.to_vec(), Purpose::Own),
    ];
    let Grid { original, reconstructed, .. } = Grid::new(model, images, &chosen, &[])?;
    file.add("plain.original", &original, &[])?;
    file.add("plain.reconstructed", &reconstructed, &[])?;
    for (name, steps, purpose) in corrupted {
        if steps.is_empty() {
            continue;
        }
        watch.go_on()?;
        purpose.seed(task.seed);
        let Grid { original, corrupted, reconstructed } = Grid::new(model, images, &chosen, &steps)?;
        file.add(&format!("{name}.original"), &original, &[])?;
        file.add(&format!("{name}.corrupted"), &corrupted, &[])?;
        file.add(&format!("{name}.reconstructed"), &reconstructed, &[])?;
    }
    if pictures::draws_codes(model, codes) {
        Purpose::RandomCodes.seed(task.seed);
        let random = pictures::random_codes(model, codes, i64::from(section.pictures))?;
        file.add("random", &pictures::decode(model, images, &random, watch)?, &[])?;
    }
    if let Some(centroids) = codes.centroids()? {
        file.classes = Some(centroids.classes.clone());
        let decoded = pictures::decode(model, images, &centroids.codes, watch)?;
        file.add("centroids", &decoded, &[])?;
        let (morphing, shape) = pictures::morphing(&centroids.codes, images.height() * images.width())?;
        let decoded = pictures::decode(model, images, &morphing, watch)?;
        file.add("morphing", &decoded, &shape)?;
    }
    Ok(file)
}
