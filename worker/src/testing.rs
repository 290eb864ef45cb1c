//! What the tests share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldwise_shared::model::TrialSettings;
use foldwise_shared::spec;
use foldwise_shared::value::Params;
use tch::Device;

use crate::images::DeviceImages;

/// libtorch's generator is global: a test that trains holds this, so that no other draws in between.
pub fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    let guard = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    crate::device::set_threads(1);
    guard
}

/// Images of 28x28 with one bright square each, at places that depend on the index.
pub fn squares(count: usize) -> DeviceImages {
    let mut bytes = vec![0; count * 28 * 28];
    for (index, image) in bytes.chunks_exact_mut(28 * 28).enumerate() {
        let (top, left) = (2 + index * 7 % 16, 2 + index * 5 % 16);
        for row in top..top + 8 {
            image[row * 28 + left..row * 28 + left + 8].fill(255);
        }
    }
    DeviceImages::new(Arc::new(bytes), count, 28, 28, Device::Cpu).expect("the size fits")
}

/// Settings that train in no time.
pub fn settings() -> TrialSettings {
    let text = r#"
        version = 1
        study = { name = "tiny" }
        data = { dataset = "squares", holdout = 1 }
        model = { network = "lab", latent_dim = 4, dropout = 0.1 }
        train = { epochs = 3, learning_rate = 3e-3, weight_decay = 1e-5, batch_size = 32 }
        budget = { trials = 1 }
    "#;
    let spec = spec::parse(text, &[]).expect("a study file");
    TrialSettings::resolve(&spec, &Params::new()).expect("all settings")
}
