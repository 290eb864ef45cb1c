//! Temporary.
use std::sync::Arc;
use foldwise_worker::*;
use foldwise_shared::model::*;
fn main() {
    device::set_threads(1);
    let data = Arc::new(foldwise_data::Dataset::open("mnist", &foldwise_data::Locations::from_env()).unwrap());
    let images = images::DeviceImages::training(data, tch::Device::Cpu).unwrap();
    let s = TrialSettings { network: Network::Lab, latent_dim: 4, dropout: 0.15, optimizer: Optimizer::Adam, learning_rate: 1.2e-3, weight_decay: 8.8e-5, batch_size: 256, epochs: 3, early_stopping: None };
    let t: Vec<i64> = (0..8000).collect();
    let v: Vec<i64> = (8000..12000).collect();
    train::fit(train::FitTask { images: &images, train: &t, validation: &v, settings: &s, seed: 1 }, &|| false, &mut |e| { println!("{e:?}"); train::Flow::Continue }).unwrap();
    let mut tr = train::Trainer::new(&images, &t, &s, 1).unwrap();
    tr.train_epoch(1, &|| false).unwrap();
    let v = tr.validation(&v).unwrap();
    for _ in 0..4 { let n = std::time::Instant::now(); let l = tr.validate(&v).unwrap(); println!("validate 4000: {l} {:?}", n.elapsed()); }
}
