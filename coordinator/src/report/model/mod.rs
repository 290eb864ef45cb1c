//! Pictures of fitted models, of what evaluations measured on them, and of the classifiers on top of them.

mod codes;
mod confusion;
mod corrupted;
mod faces;
mod losses;
mod morphing;
mod range_test;
mod read;
mod reconstructions;
mod side_by_side;

#[cfg(test)]
mod tests;

use foldwise_shared::ids::Epoch;
use foldwise_shared::record::{EpochRecord, StudyRecord, TrialRecord};
use foldwise_shared::spec::StudySpec;
use foldwise_shared::value::short;

use self::read::class_name;
pub use self::read::{Curve, Evaluation, Part, RangeTest, Tensor, Tensors, Transfer};
use super::Section;
use super::search::duration;

/// A study of which one trial matters, with the files that its workers stored.
#[derive(Debug, Clone)]
pub struct Run {
    /// The study.
    pub study: StudyRecord,
    /// The trial: the only one, or the best.
    pub trial: TrialRecord,
    /// The live epochs of its first fold, in order.
    pub epochs: Vec<EpochRecord>,
    /// Its artifacts.
    pub files: Vec<File>,
}

/// The content of an artifact.
#[derive(Debug, Clone)]
pub struct File {
    /// What it is.
    pub kind: String,
    /// The epoch it belongs to, if any.
    pub epoch: Option<Epoch>,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// A model: how it was fitted, what an evaluation measured, and what was built on it.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// What it is called.
    pub name: String,
    /// How it was fitted; none if it came as a file.
    pub fit: Option<Run>,
    /// The newest evaluation of it.
    pub evaluation: Option<Run>,
    /// The classifiers on top of it.
    pub transfers: Vec<Run>,
}

/// Reconstructions in a picture at most.
const EPOCHS: usize = 8;

/// The epochs whose reconstructions are shown, of those that there are: close together where much changes.
pub fn shown_epochs(mut there: Vec<Epoch>) -> Vec<Epoch> {
    there.sort_unstable();
    there.dedup();
    let Some(last) = there.len().checked_sub(1) else { return there };
    if there.len() <= EPOCHS {
        return there;
    }
    let mut places: Vec<usize> = (0..EPOCHS)
        .map(|at| ((last as f64 + 1.0).powf(at as f64 / (EPOCHS - 1) as f64) - 1.0).round() as usize)
        .collect();
    // Where the curve is flat several fall together; the next free one takes their place.
    for at in 1..EPOCHS {
        places[at] = places[at].max(places[at - 1] + 1).min(last);
    }
    places.dedup();
    places.into_iter().map(|place| there[place]).collect()
}

impl Run {
    /// The file of a kind; of several the last.
    fn file(&self, kind: &str) -> Option<&[u8]> {
        self.files.iter().rev().find(|file| file.kind == kind).map(|file| file.bytes.as_slice())
    }

    /// Reads a file of a kind; what cannot be read becomes a note of the section.
    fn read<T>(
        &self,
        kind: &str,
        section: &mut Section,
        read: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Option<T> {
        match read(self.file(kind)?) {
            Ok(content) => Some(content),
            Err(error) => {
                section.notes.push(format!(
                    "The artifact `{kind}` of study `{}` cannot be shown: {error}.",
                    self.study.name
                ));
                None
            }
        }
    }
}

/// All that is known about a model, read once.
struct Known {
    evaluation: Option<Evaluation>,
    pictures: Option<Tensors>,
    codes: Option<Tensors>,
}

impl Known {
    fn of(model: &Model, section: &mut Section) -> Self {
        let Some(run) = &model.evaluation else {
            return Self { evaluation: None, pictures: None, codes: None };
        };
        Self {
            evaluation: run.read("evaluation", section, read::json::<Evaluation>),
            pictures: run.read("pictures", section, Tensors::read),
            codes: run.read("codes", section, Tensors::read),
        }
    }
}

impl Known {
    /// The classes that pictures are of, in their order; empty where nobody says.
    fn classes(&self) -> &[u8] {
        self.evaluation.as_ref().map_or(&[], |evaluation| &evaluation.classes)
    }

    /// The part of the data set that it was measured on.
    fn part(&self) -> Part {
        self.evaluation.as_ref().map(|evaluation| evaluation.part).unwrap_or_default()
    }

    /// What all classes are called, from 0; empty where nobody says.
    fn names(&self) -> &[String] {
        self.evaluation.as_ref().map_or(&[], |evaluation| &evaluation.class_names)
    }

    /// What the first `count` of these are called: by name, or by number.
    fn shown_names(&self, count: usize) -> Vec<String> {
        let classes = self.classes();
        let class = |at: usize| classes.get(at).map_or(at, |class| usize::from(*class));
        (0..count).map(|at| class_name(self.names(), class(at))).collect()
    }
}

impl Model {
    /// The sections of the page about the model.
    pub fn sections(&self) -> Vec<Section> {
        let mut head = Section::chapter(format!("Model {}", self.name));
        let known = Known::of(self, &mut head);
        self.facts(&known, &mut head);
        let mut fitting = Section::new("Fitting");
        if let Some(fit) = &self.fit {
            fitting.pictures.extend(losses::pictures(fit, &self.name));
            fitting.push(reconstructions::picture(fit, &self.name, &mut head));
            let test = fit.read("range-test", &mut head, read::json::<RangeTest>);
            fitting.push(test.and_then(|test| range_test::picture(&test, &self.name)));
        }
        let mut sections = vec![head, fitting];
        if self.evaluation.is_some() {
            let classes = known.classes();
            let shown = |count| known.shown_names(count);
            let mut input = Section::new("Corrupted input");
            if let Some(evaluation) = &known.evaluation {
                let one = [(self.name.as_str(), evaluation)];
                input.pictures.extend(corrupted::pictures(&one, &self.name));
            }
            let mut latent = Section::new("Latent space");
            latent.pictures.extend(codes::pictures(
                known.codes.as_ref(),
                known.evaluation.as_ref(),
                &self.name,
            ));
            let mut decoded = Section::new("Decoded codes");
            if let Some(pictures) = &known.pictures {
                input.pictures.extend(faces::corrupted(pictures, known.part(), &self.name));
                decoded.push(faces::centroids(&[(self.name.as_str(), pictures)], &shown, &self.name));
                decoded.push(faces::random(&[(self.name.as_str(), pictures)], &self.name));
                decoded.pictures.extend(morphing::pictures(pictures, classes, &shown, &self.name));
            }
            sections.extend([input, latent, decoded]);
        }
        sections.extend(self.transfers.iter().flat_map(transfer));
        sections.retain(|section| !section.is_empty());
        sections
    }

    fn facts(&self, known: &Known, section: &mut Section) {
        let mut fact = |name: &str, value: String| section.facts.push((name.to_owned(), value));
        if let Some(fit) = &self.fit {
            fact("State", fit.trial.state.to_string());
            let best = fit.trial.folds.first().and_then(|fold| fold.best_epoch.zip(fold.value));
            if let Some((epoch, value)) = best {
                fact(
                    "Best epoch",
                    format!("{epoch} of {}, with the validation loss {}", fit.epochs.len(), short(value)),
                );
            }
            let params: Vec<String> =
                fit.trial.params.iter().map(|(name, value)| format!("{name} = {value}")).collect();
            if !params.is_empty() {
                fact("Params", params.join(", "));
            }
            let seconds: f64 = fit.epochs.iter().filter_map(|epoch| epoch.seconds).sum();
            if seconds > 0.0 {
                fact("Training", duration(seconds));
            }
        }
        let Some(evaluation) = &known.evaluation else { return };
        if let Some(run) = &self.evaluation {
            let spec = StudySpec::from_json(&run.study.spec);
            let data =
                spec.map_or_else(|_| String::new(), |spec| format!(", on the data {}", spec.dataset()));
            fact("Evaluation", format!("{}{data}", run.study.name));
        }
        let part = evaluation.part;
        fact(
            &format!("Error on {part} images"),
            format!("{} a pixel over {} images", short(evaluation.mse), evaluation.images),
        );
        let mut optional = |name: &str, value: Option<f64>| {
            if let Some(value) = value {
                fact(name, short(value));
            }
        };
        optional("KL divergence", evaluation.kl);
        optional(&format!("Error on {part} images under its own corruption"), evaluation.own_corruption_mse);
        optional("k-NN accuracy of the codes", evaluation.knn_accuracy);
        optional("Silhouette of the codes", evaluation.silhouette);
        if let Some([first, second]) = evaluation.explained_variance {
            fact("Variance in two principal components", format!("{:.1}%", (first + second) * 100.0));
        }
    }
}

/// The sections about a classifier on top of a model.
pub fn transfer(run: &Run) -> Vec<Section> {
    let mut section = Section::new(format!("Transfer {}", run.study.name));
    let found = run.read("transfer", &mut section, read::json::<Transfer>);
    if let Some(transfer) = &found {
        let mut fact = |name: &str, value: String| section.facts.push((name.to_owned(), value));
        let part = transfer.part;
        fact(
            &format!("Accuracy on {part} images"),
            format!("{:.4} over {} images", transfer.accuracy, transfer.images),
        );
        fact(&format!("Loss on {part} images"), short(transfer.loss));
        if let Some(seconds) = transfer.seconds {
            let features = transfer.feature_seconds.map_or_else(String::new, |seconds| {
                format!(", of which {} for the frozen features", duration(seconds))
            });
            fact("Time", format!("{}{features}", duration(seconds)));
        }
    }
    section.pictures.extend(losses::pictures(run, &run.study.name));
    let test = run.read("range-test", &mut section, read::json::<RangeTest>);
    section.push(test.and_then(|test| range_test::picture(&test, &run.study.name)));
    if let Some(transfer) = &found {
        section.push(confusion::picture(transfer, &run.study.name));
    }
    vec![section]
}

/// The range test of a run as a section, if it has one.
pub fn range_test(run: &Run) -> Section {
    let mut section = Section::new("Learning-rate range test of the best trial");
    let test = run.read("range-test", &mut section, read::json::<RangeTest>);
    section.push(test.and_then(|test| range_test::picture(&test, &run.study.name)));
    section
}

/// The sections that have several models in one picture.
pub fn side_by_side(models: &[Model]) -> Vec<Section> {
    side_by_side::sections(models)
}
