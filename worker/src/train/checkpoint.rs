//! How far a fold is, as a file: the weights, what the optimizer and early stopping know, and the best so far.
//!
//! The file is in the safetensors format. The weights have PyTorch's names behind `weights.` and `best.`; the buffers of
//! the optimizer are flat, in the order of the weights; all else is JSON under one key of the metadata. A file that is
//! read may come from anywhere: what does not fit is an error, and nothing is believed before it is checked.

use std::collections::{BTreeMap, HashMap};

use foldwise_shared::model;
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use serde::{Deserialize, Serialize};

use super::StopperState;
use super::optimizer::OptimizerState;
use crate::model::ParameterSpec;
use crate::tensors::{Named, bytes_of, check_offsets, read_values, shape, split};

/// The version of the file; another one is refused.
const VERSION: u32 = 1;
/// The key of the metadata.
const KEY: &str = "foldwise-checkpoint";

const WEIGHTS: &str = "weights.";
const BEST: &str = "best.";
const OPTIMIZER: &str = "optimizer.";

/// The best epoch of a fold so far.
#[derive(Debug, Clone, PartialEq)]
pub struct Best {
    /// The epoch.
    pub epoch: u32,
    /// Its validation loss.
    pub loss: f64,
    /// The weights after it, in a row.
    pub weights: Vec<f32>,
}

/// How far a fold is. libtorch's generator is seeded anew for every epoch, so that nothing else is needed.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// The epoch after which it was made.
    pub epoch: u32,
    /// The weights, in a row.
    pub weights: Vec<f32>,
    /// What the optimizer has learned.
    pub optimizer: OptimizerState,
    /// The best so far.
    pub best: Best,
    /// What early stopping has seen, if there is any.
    pub stopper: Option<StopperState>,
}

/// Why a checkpoint cannot be gone on from; reads well after "the checkpoint cannot be used: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the checkpoint cannot be used: {0}")]
pub struct CheckpointError(pub String);

fn wrong<T>(message: impl Into<String>) -> Result<T, CheckpointError> {
    Err(CheckpointError(message.into()))
}

/// What is no tensor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    version: u32,
    /// What was trained, on what, and from which seed.
    identity: String,
    epoch: u32,
    best_epoch: u32,
    best_loss: f64,
    optimizer: model::Optimizer,
    steps: u32,
    stopper: Option<StopperState>,
}

impl Checkpoint {
    /// The file. `identity` says what was trained: only who trains the same can go on from it. The same checkpoint always
    /// gives the same bytes.
    ///
    /// # Errors
    /// It does not fit `specs`.
    pub fn to_bytes(&self, identity: &str, specs: &[ParameterSpec]) -> Result<Vec<u8>, CheckpointError> {
        let header = Header {
            version: VERSION,
            identity: identity.to_owned(),
            epoch: self.epoch,
            best_epoch: self.best.epoch,
            best_loss: self.best.loss,
            optimizer: self.optimizer.kind,
            steps: self.optimizer.steps,
            stopper: self.stopper,
        };
        let header = serde_json::to_string(&header).map_err(|error| CheckpointError(error.to_string()))?;
        let buffers = self
            .optimizer
            .buffers
            .iter()
            .map(|(name, values)| (format!("{OPTIMIZER}{name}"), vec![values.len()], bytes_of(values)));
        let mut tensors: Vec<Named> = buffers.collect();
        for (prefix, values) in [(WEIGHTS, &self.weights), (BEST, &self.best.weights)] {
            tensors.extend(split(prefix, values, specs).map_err(CheckpointError)?);
        }
        let views = tensors
            .iter()
            .map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>();
        let metadata = HashMap::from([(KEY.to_owned(), header)]);
        views
            .and_then(|views| serialize(views, Some(metadata)))
            .map_err(|error| CheckpointError(error.to_string()))
    }

    /// Reads a file back, as [`Checkpoint::to_bytes`] made it for the same `identity` and `specs`.
    ///
    /// # Errors
    /// Anything else.
    pub fn from_bytes(
        bytes: &[u8],
        identity: &str,
        specs: &[ParameterSpec],
    ) -> Result<Self, CheckpointError> {
        check_offsets(bytes).map_err(CheckpointError)?;
        let (_, metadata) = SafeTensors::read_metadata(bytes)
            .map_err(|error| CheckpointError(format!("its header makes no sense: {error}")))?;
        let Some(text) = metadata.metadata().as_ref().and_then(|metadata| metadata.get(KEY)) else {
            return wrong(format!("it is a file of safetensors without the key `{KEY}`"));
        };
        let header = read_header(text, identity)?;
        let file = SafeTensors::deserialize(bytes)
            .map_err(|error| CheckpointError(format!("its tensors make no sense: {error}")))?;

        let mut left: BTreeMap<&str, TensorView<'_>> = file.iter().collect();
        let mut weights = |prefix: &str| {
            let mut all = Vec::new();
            for spec in specs {
                let name = format!("{prefix}{}", spec.name);
                let Some(view) = left.remove(name.as_str()) else {
                    return wrong(format!("the tensor {name} is missing"));
                };
                let (shape, _) = shape(spec).map_err(CheckpointError)?;
                read_values(&name, &view, &shape, &mut all).map_err(CheckpointError)?;
            }
            Ok(all)
        };
        let (weights, best) = (weights(WEIGHTS)?, weights(BEST)?);
        let mut buffers = BTreeMap::new();
        for (name, view) in left {
            let Some(own) = name.strip_prefix(OPTIMIZER) else {
                return wrong(format!("nobody knows its tensor {name:?}"));
            };
            let mut values = Vec::new();
            read_values(name, &view, &[weights.len()], &mut values).map_err(CheckpointError)?;
            buffers.insert(own.to_owned(), values);
        }
        Ok(Self {
            epoch: header.epoch,
            weights,
            optimizer: OptimizerState { kind: header.optimizer, steps: header.steps, buffers },
            best: Best { epoch: header.best_epoch, loss: header.best_loss, weights: best },
            stopper: header.stopper,
        })
    }
}

fn read_header(text: &str, identity: &str) -> Result<Header, CheckpointError> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let unreadable =
        |error: serde_json::Error| CheckpointError(format!("its header makes no sense: {error}"));
    let Version { version } = serde_json::from_str(text).map_err(unreadable)?;
    if version != VERSION {
        return wrong(format!("it has version {version}, and this worker knows version {VERSION}"));
    }
    let header: Header = serde_json::from_str(text).map_err(unreadable)?;
    if header.identity != identity {
        return wrong("it is of another training: other settings, data, fold or seed");
    }
    if header.epoch == 0 || header.best_epoch == 0 || header.best_epoch > header.epoch {
        return wrong(format!(
            "it is of epoch {}, and its best epoch is {}",
            header.epoch, header.best_epoch
        ));
    }
    let best = header.stopper.map_or(0.0, |stopper| stopper.best);
    if !header.best_loss.is_finite() || !best.is_finite() {
        return wrong("its best loss is no finite number");
    }
    if header.stopper.is_some_and(|stopper| stopper.epochs_without >= header.epoch) {
        return wrong("it has more epochs without an improvement than epochs");
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn specs() -> Vec<ParameterSpec> {
        ParameterSpec::layer("enc.0", &[2, 3], 2).to_vec()
    }

    fn checkpoint() -> Checkpoint {
        // Zeros of both signs, a denormal, infinities and a NaN with bits of its own come back as they are.
        let odd = [0.0, -0.0, 1e-40, f32::INFINITY, f32::from_bits(0x7fc0_1234), f32::MIN, 0.1, -7.5];
        Checkpoint {
            epoch: 5,
            weights: odd.to_vec(),
            optimizer: OptimizerState {
                kind: model::Optimizer::Adam,
                steps: 40,
                buffers: BTreeMap::from([("mean".into(), odd.to_vec()), ("square".into(), vec![2.0; 8])]),
            },
            best: Best { epoch: 3, loss: 0.1 + 0.2, weights: vec![0.5; 8] },
            stopper: Some(StopperState { best: 1.0 / 3.0, epochs_without: 2 }),
        }
    }

    fn file() -> Vec<u8> {
        checkpoint().to_bytes("me", &specs()).expect("it fits")
    }

    /// A NaN is unequal to itself, so the bytes are compared.
    fn read_again(bytes: &[u8]) -> Result<Vec<u8>, CheckpointError> {
        Checkpoint::from_bytes(bytes, "me", &specs())?.to_bytes("me", &specs())
    }

    /// The file with another header.
    fn with_header(change: impl Fn(&mut serde_json::Value)) -> Vec<u8> {
        let bytes = file();
        let length = u64::from_le_bytes(*bytes.first_chunk().expect("a length")) as usize;
        let mut header = serde_json::from_slice(&bytes[8..8 + length]).expect("JSON");
        change(&mut header);
        let header = header.to_string();
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &bytes[8 + length..]].concat()
    }

    /// The file with another value in our own part of the header.
    fn with(key: &str, value: serde_json::Value) -> Vec<u8> {
        with_header(|header| {
            let text = header["__metadata__"][KEY].as_str().expect("text");
            let mut own: serde_json::Value = serde_json::from_str(text).expect("JSON");
            own[key] = value.clone();
            header["__metadata__"][KEY] = own.to_string().into();
        })
    }

    #[track_caller]
    fn check(bytes: &[u8], words: &str) {
        let error = read_again(bytes).expect_err(words).to_string();
        assert!(error.starts_with("the checkpoint cannot be used: ") && error.contains(words), "{error}");
    }

    #[test]
    fn it_comes_back_to_the_bit_and_is_always_the_same_file() {
        let bytes = file();
        assert_eq!(read_again(&bytes), Ok(bytes.clone()));
        assert_eq!(file(), bytes);
        let read = Checkpoint::from_bytes(&bytes, "me", &specs()).expect("ours");
        assert_eq!((read.epoch, read.stopper, read.best), (5, checkpoint().stopper, checkpoint().best));
        let none = Checkpoint { stopper: None, ..checkpoint() }.to_bytes("me", &specs()).expect("it fits");
        assert_eq!(read_again(&none), Ok(none));
    }

    #[test]
    fn another_number_is_read_as_it_stands() {
        let bytes = file();
        let point = bytes.windows(3).position(|three| three == b"0.3").expect("the best loss") + 2;
        // 0.30000000000000004 becomes 0.E and so on, which is none; one place later it becomes 3000.
        let changed = |at: usize| [&bytes[..at], b"E", &bytes[at + 1..]].concat();
        check(&changed(point), "header makes no sense");
        let read = Checkpoint::from_bytes(&changed(point + 1), "me", &specs()).expect("a number");
        assert_eq!(read.best.loss, 3000.0);
        let again = read.to_bytes("me", &specs()).expect("it fits");
        assert!(again.len() < bytes.len());
        assert_eq!(read_again(&again), Ok(again));
    }

    #[test]
    fn a_torn_file_is_refused_wherever_it_is_torn() {
        let bytes = file();
        for length in 0..bytes.len() {
            assert!(read_again(&bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
        }
        check(&[bytes, vec![0]].concat(), "");
    }

    #[test]
    fn a_foreign_file_is_refused() {
        check(b"", "cut off after 0 bytes");
        check(b"PK\x03\x04 a zip file", "claims a header of");
        check(&[&2u64.to_le_bytes()[..], b"{}"].concat(), "without the key");
        check(&with("identity", "you".into()), "another training");
        check(&with("version", 2.into()), "version 2");
        check(&with("color", "red".into()), "color");
        let other = ParameterSpec::layer("enc.0", &[2, 4], 2);
        let error = Checkpoint::from_bytes(&file(), "me", &other).expect_err("another shape").to_string();
        assert!(error.contains("weights.enc.0.weight is F32 [2, 3], not F32 [2, 4]"), "{error}");
        let other = ParameterSpec::layer("dec.0", &[2, 3], 2);
        let error = Checkpoint::from_bytes(&file(), "me", &other).expect_err("another name").to_string();
        assert!(error.contains("weights.dec.0.weight is missing"), "{error}");
    }

    #[test]
    fn counters_must_make_sense() {
        check(&with("epoch", 0.into()), "epoch 0");
        check(&with("best_epoch", 6.into()), "best epoch is 6");
        check(&with("best_epoch", 0.into()), "best epoch is 0");
        check(&with("best_loss", serde_json::Value::Null), "header makes no sense");
        check(&with("epoch", (-1).into()), "header makes no sense");
        check(&with("steps", 1e30.into()), "header makes no sense");
        check(
            &with("stopper", serde_json::json!({ "best": 0.1, "epochs_without": 5 })),
            "without an improvement",
        );
    }

    #[test]
    fn a_hostile_header_is_refused() {
        check(&[&u64::MAX.to_le_bytes()[..], &[b'{'; 100]].concat(), "claims a header");
        let name = "weights.enc.0.weight";
        let place = |start: u64, end: u64| {
            with_header(|header| {
                header[name]["data_offsets"] = serde_json::json!([start, end]);
            })
        };
        check(&place(0, u64::MAX), "cut off");
        check(&place(8, 4), "should lie from byte 8 to 4");
        check(&place(0, 4), "header makes no sense");
        check(&with_header(|header| header[name]["dtype"] = "F16".into()), "header makes no sense");
        check(&with_header(|header| header[name]["shape"] = serde_json::json!([u64::MAX, 2])), "no sense");
        check(&with_header(|header| header[name]["shape"] = serde_json::json!([3, 2])), "[3, 2]");
        check(
            &with_header(|header| {
                let moved = header[name].take();
                header.as_object_mut().expect("an object").remove(name);
                header["weights.other"] = moved;
            }),
            "weights.enc.0.weight is missing",
        );
        let deep = format!("{{\"a\":{}1", "[".repeat(100_000));
        check(&[&(deep.len() as u64).to_le_bytes()[..], deep.as_bytes()].concat(), "header makes no sense");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read_again(&bytes);
        }

        /// A change of a number, in the tensors or the header, gives another number, which only the digest of the file can
        /// tell; any other gives an error or the same. Another number may have fewer digits, so the file may be shorter.
        #[test]
        fn no_changed_byte_makes_it_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = file();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(again) = read_again(&bytes) {
                prop_assert_eq!(read_again(&again), Ok(again.clone()));
            }
        }
    }
}
