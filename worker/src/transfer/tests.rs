use std::cell::Cell;
use std::rc::Rc;

use tch::{TchError, Tensor};

use super::*;
use crate::model::{self, Layout, Network, Reconstruction};
use crate::testing::{alone, settings, squares};
use crate::train::Trainer;

/// Counts the images whose features are asked for.
struct Counting(Box<dyn Network>, Rc<Cell<i64>>);

impl Network for Counting {
    fn parameters(&self) -> Vec<ParameterSpec> {
        self.0.parameters()
    }
    fn layout(&self) -> Layout {
        self.0.layout()
    }
    fn forward(
        &self,
        weights: &[Tensor],
        batch: &Tensor,
        training: bool,
    ) -> Result<Reconstruction, TchError> {
        self.0.forward(weights, batch, training)
    }
    fn encode(&self, weights: &[Tensor], batch: &Tensor) -> Result<Tensor, TchError> {
        self.0.encode(weights, batch)
    }
    fn decode(&self, weights: &[Tensor], codes: &Tensor) -> Result<Tensor, TchError> {
        self.0.decode(weights, codes)
    }
    fn features(&self, weights: &[Tensor], batch: &Tensor) -> Result<Tensor, TchError> {
        self.1.set(self.1.get() + self.0.layout().images(batch)?);
        self.0.features(weights, batch)
    }
    fn feature_count(&self) -> i64 {
        self.0.feature_count()
    }
    fn first_linear(&self) -> (usize, usize) {
        self.0.first_linear()
    }
}

fn fitted() -> (FittedModel, Rc<Cell<i64>>) {
    tch::manual_seed(4);
    let settings = settings().model;
    let network = model::build(&settings, 28, 28, Device::Cpu).expect("it can be built");
    let parameters = Parameters::random(network.parameters(), Device::Cpu).expect("small");
    let flat: Vec<f32> = parameters.flat().detach().try_into().expect("floats");
    let model = FittedModel::new(&settings, (28, 28), &flat, Device::Cpu).expect("its weights");
    let seen = Rc::new(Cell::new(0));
    let network = Box::new(Counting(model.network, Rc::clone(&seen)));
    (FittedModel { network, ..model }, seen)
}

#[test]
fn the_convolutions_see_every_image_once() {
    let _alone = alone();
    let ((model, seen), images) = (fitted(), squares(600));
    let labels: Vec<u8> = (0..600_u32).map(|index| u8::from(index * 7 % 16 > 7)).collect();
    let features = Features::new(&model, &images, &labels, &|| false).expect("it fits").expect("all of them");
    let train: Vec<i64> = (0..500).collect();
    let head = Head::new(&model, &features, 2, 0.1).expect("it can be built");
    let mut trainer = Trainer::of(Box::new(head), &train, &settings(), 3).expect("it can be built");
    let validation = trainer.validation(&(500..600).collect::<Vec<_>>()).expect("they are there");
    let before = trainer.validate(&validation).expect("it runs");
    for epoch in 1..=5 {
        trainer.train_epoch(epoch, &|| false).expect("it trains");
    }
    let after = trainer.validate(&validation).expect("it runs");
    assert_eq!(seen.get(), 600);
    assert!(after.loss < before.loss && after.accuracy > Some(0.9), "{before:?} {after:?}");
    assert!(trainer.reconstruct(&Tensor::zeros([1, 784], tch::kind::FLOAT_CPU)).is_err());
}

#[test]
fn it_starts_from_the_models_own_layer() {
    let _alone = alone();
    let ((model, _), images) = (fitted(), squares(8));
    let features = Features::new(&model, &images, &[0, 1, 2, 0], &|| false).expect("it fits").expect("all");
    assert_eq!(features.count(), 4);
    let head = Head::new(&model, &features, 3, 0.0).expect("it can be built");
    let weights = head.first_weights().expect("weights").views().expect("views");
    let shapes: Vec<_> = weights.iter().map(Tensor::size).collect();
    assert_eq!(shapes, [vec![64, 288], vec![64], vec![3, 64], vec![3]]);
    let (weight, bias) = model.network.first_linear();
    assert!(weights[0].equal(&model.weights[weight]) && weights[1].equal(&model.weights[bias]));
    assert!(weights[2].abs().max().double_value(&[]) <= 0.125, "within one over the root of 64");

    // By hand: the layer, ReLU, the classes, and the cross entropy of the second image.
    let batch = images.batch(&Tensor::from_slice(&[1_i64]), model.network.layout()).expect("there");
    let own = model.network.features(&model.weights, &batch).expect("features");
    let logits = own.linear(&weights[0], Some(&weights[1])).relu().linear(&weights[2], Some(&weights[3]));
    let expected = -logits.log_softmax(1, tch::Kind::Double).double_value(&[0, 1]);
    let measured = head.measure(&weights, &Tensor::from_slice(&[1_i64]), false).expect("it runs");
    assert!((measured.loss.double_value(&[]) - expected).abs() < 1e-6);
}

#[test]
fn a_verdict_counts_what_was_taken_for_what() {
    let _alone = alone();
    let ((model, _), images) = (fitted(), squares(8));
    let labels = [0, 1, 2, 2, 1, 0];
    let features = Features::new(&model, &images, &labels, &|| false).expect("it fits").expect("all");
    let head = Head::new(&model, &features, 3, 0.0).expect("it can be built");
    // All weights 0 but the bias of class 1: every image is taken for it.
    let count: i64 = head.specs().iter().map(ParameterSpec::count).sum();
    let mut weights = vec![0.0_f32; count as usize];
    let last = weights.len();
    weights[last - 2] = 1.0;
    let (loss, confusion) = judge(&head, &weights, &[0, 1, 2, 3]).expect("it runs");
    assert_eq!(confusion, [[0, 1, 0], [0, 1, 0], [0, 2, 0]]);
    assert_eq!(accuracy(&confusion), 0.25);
    let all = (2.0 + 1.0_f64.exp()).ln();
    assert!((loss - (all - 0.25)).abs() < 1e-6, "{loss}");
    assert!(judge(&head, &weights[1..], &[0]).is_err() && judge(&head, &weights, &[]).is_err());
}

#[test]
fn what_is_no_classifier_says_so() {
    let _alone = alone();
    let ((model, _), images) = (fitted(), squares(8));
    let features = |labels: &[u8]| Features::new(&model, &images, labels, &|| false);
    assert!(features(&[0; 9]).err().expect("too many").to_string().contains("9 labels for 8 images"));
    assert!(features(&[]).is_err());
    assert!(Features::new(&model, &images, &[0, 1], &|| true).expect("no error").is_none());
    let features = features(&[0, 3]).expect("it fits").expect("all");
    let error =
        |classes, dropout| Head::new(&model, &features, classes, dropout).err().expect("no").to_string();
    assert!(error(1, 0.0).contains("1 classes"));
    assert!(error(3, 0.0).contains("class 3"));
    assert!(error(4, 1.0).contains("dropout is 1"));
}
