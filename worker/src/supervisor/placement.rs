//! Which devices get a worker process, and what each process must be told so that it trains on its own.

use std::fmt;
use std::str::FromStr;

use crate::device::{DeviceChoice, DeviceError, VisibleGpu};

/// The devices a person asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Devices {
    /// Every GPU there is.
    All,
    /// These, each once.
    These(Vec<DeviceChoice>),
}

/// Why there are no such devices.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DevicesError {
    /// A word that names no device.
    #[error(
        "`{word}` is no device; write all, or a list of cpu and cuda:N with commas, such as cuda:0,cuda:2 or 0,2"
    )]
    Unknown {
        /// The word.
        word: String,
    },
    /// A device that stands twice.
    #[error("{0} stands there twice; `--slots` sets how many folds a device trains side by side")]
    Twice(DeviceChoice),
    /// No GPU can be seen.
    #[error("{wanted} was asked for, but {reason}; `--devices cpu` trains on the CPU")]
    None {
        /// What was asked for.
        wanted: String,
        /// Why there is none.
        reason: String,
    },
    /// There are fewer GPUs.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

/// A worker process and its device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// What its device is called on this machine: the worker is NAME/LABEL.
    pub label: String,
    /// The `--device` it gets.
    pub device: DeviceChoice,
    /// What `CUDA_VISIBLE_DEVICES` is set to for it; none leaves it as it is.
    pub visible: Option<String>,
    /// The maker's name and UUID of a GPU, for a person.
    pub about: String,
}

impl FromStr for Devices {
    type Err = DevicesError;

    fn from_str(text: &str) -> Result<Self, DevicesError> {
        if text.trim() == "all" {
            return Ok(Self::All);
        }
        let mut these = Vec::new();
        for word in text.split(',').map(str::trim) {
            let unknown = || DevicesError::Unknown { word: word.to_owned() };
            let choice = match word.parse::<usize>() {
                Ok(index) if word.bytes().all(|byte| byte.is_ascii_digit()) => DeviceChoice::Cuda(index),
                _ => word.parse().map_err(|_| unknown())?,
            };
            if choice == DeviceChoice::Auto {
                return Err(unknown());
            }
            if these.contains(&choice) {
                return Err(DevicesError::Twice(choice));
            }
            these.push(choice);
        }
        Ok(Self::These(these))
    }
}

impl fmt::Display for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::These(these) => {
                let words: Vec<String> = these.iter().map(ToString::to_string).collect();
                f.write_str(&words.join(","))
            }
        }
    }
}

impl Devices {
    /// So many made-up devices.
    pub fn fake(count: usize) -> Self {
        Self::These((0..count).map(DeviceChoice::Fake).collect())
    }

    /// A process for each. `look` finds the GPUs, in the order of their indices, and is asked only if one is wanted.
    ///
    /// # Errors
    /// [`DevicesError`]: one of them is not there.
    pub fn place(
        &self,
        look: impl FnOnce() -> Result<Vec<VisibleGpu>, String>,
    ) -> Result<Vec<Placement>, DevicesError> {
        let wants_gpus = match self {
            Self::All => true,
            Self::These(these) => these.iter().any(|choice| matches!(choice, DeviceChoice::Cuda(_))),
        };
        let gpus = match wants_gpus.then(look) {
            Some(Ok(gpus)) => gpus,
            Some(Err(reason)) => return Err(DevicesError::None { wanted: self.to_string(), reason }),
            None => Vec::new(),
        };
        match self {
            Self::All => Ok(gpus.iter().enumerate().map(|(index, gpu)| on_gpu(index, gpu)).collect()),
            Self::These(these) => these
                .iter()
                .map(|choice| match choice {
                    DeviceChoice::Cuda(index) => match gpus.get(*index) {
                        Some(gpu) => Ok(on_gpu(*index, gpu)),
                        None => Err(DeviceError::NoSuchIndex { index: *index, count: gpus.len() }.into()),
                    },
                    other => Ok(Placement {
                        label: other.to_string(),
                        device: *other,
                        visible: None,
                        about: String::new(),
                    }),
                })
                .collect(),
        }
    }
}

/// Seeing its own GPU alone, a process finds it at index 0.
fn on_gpu(index: usize, gpu: &VisibleGpu) -> Placement {
    let about = match &gpu.uuid {
        Some(uuid) => format!("{}, {uuid}", gpu.name),
        None => gpu.name.clone(),
    };
    Placement {
        label: gpu.label.clone(),
        device: DeviceChoice::Cuda(if gpu.uuid.is_some() { 0 } else { index }),
        visible: gpu.uuid.clone(),
        about,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_parsed_and_shown() {
        use DeviceChoice::{Cpu, Cuda, Fake};
        for (text, devices) in [
            ("all", Devices::All),
            (" all ", Devices::All),
            ("cpu", Devices::These(vec![Cpu])),
            ("cuda", Devices::These(vec![Cuda(0)])),
            ("cuda:0,cuda:2", Devices::These(vec![Cuda(0), Cuda(2)])),
            ("3,1", Devices::These(vec![Cuda(3), Cuda(1)])),
            ("0, cuda:1 ,cpu", Devices::These(vec![Cuda(0), Cuda(1), Cpu])),
            ("fake:1,fake:0", Devices::These(vec![Fake(1), Fake(0)])),
        ] {
            let parsed: Devices = text.parse().expect(text);
            assert_eq!(parsed, devices, "{text}");
            assert_eq!(parsed.to_string().parse(), Ok(devices), "{text}");
        }
        assert_eq!(Devices::fake(2).to_string(), "fake:0,fake:1");
    }

    #[test]
    fn wrong_lists_are_refused() {
        for (text, words) in [
            ("", "`` is no device"),
            ("all,cpu", "`all`"),
            ("auto", "`auto`"),
            ("gpu", "`gpu`"),
            ("0,,1", "`` is no device"),
            ("0,", "`` is no device"),
            ("-1", "`-1`"),
            ("+1", "`+1`"),
            ("cuda:0,0", "cuda:0 stands there twice"),
            ("cpu,cpu", "cpu stands there twice"),
            ("99999999999999999999999", "is no device"),
        ] {
            let error = text.parse::<Devices>().expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    fn gpus() -> Result<Vec<VisibleGpu>, String> {
        let gpu = |label: &str, uuid: Option<&str>| VisibleGpu {
            label: label.into(),
            name: "A100".into(),
            uuid: uuid.map(str::to_owned),
        };
        Ok(vec![gpu("cuda:4", Some("GPU-4")), gpu("cuda:6", Some("GPU-6"))])
    }

    #[test]
    fn each_process_sees_its_own_gpu_alone() {
        for (text, expected) in [
            ("all", vec![("cuda:4", "GPU-4"), ("cuda:6", "GPU-6")]),
            ("1", vec![("cuda:6", "GPU-6")]),
            ("cuda:1,cuda:0", vec![("cuda:6", "GPU-6"), ("cuda:4", "GPU-4")]),
        ] {
            let placed = text.parse::<Devices>().expect(text).place(gpus).expect(text);
            let brief: Vec<_> = placed
                .iter()
                .map(|place| (place.label.as_str(), place.visible.as_deref().expect("one")))
                .collect();
            assert_eq!(brief, expected, "{text}");
            assert!(placed.iter().all(|place| place.device == DeviceChoice::Cuda(0)), "{placed:?}");
        }
    }

    #[test]
    fn a_gpu_without_a_name_goes_by_its_index() {
        let look = || {
            let gpu = |index| VisibleGpu { label: format!("cuda:{index}"), name: "T".into(), uuid: None };
            Ok((0..2).map(gpu).collect())
        };
        let placed = Devices::All.place(look).expect("two");
        assert_eq!((placed[1].device, placed[1].visible.as_ref()), (DeviceChoice::Cuda(1), None));
    }

    #[test]
    fn no_gpu_is_looked_for_where_none_is_wanted() {
        let never = || panic!("nobody asked");
        let placed = Devices::fake(3).place(never).expect("made up");
        let labels: Vec<&str> = placed.iter().map(|place| place.label.as_str()).collect();
        assert_eq!(labels, ["fake:0", "fake:1", "fake:2"]);
        assert_eq!(placed[2].device, DeviceChoice::Fake(2));
        let placed = Devices::These(vec![DeviceChoice::Cpu]).place(never).expect("the CPU");
        assert_eq!((placed[0].label.as_str(), placed[0].device), ("cpu", DeviceChoice::Cpu));
    }

    #[test]
    fn a_missing_gpu_is_named() {
        let error = "2".parse::<Devices>().expect("a list").place(gpus).expect_err("two only");
        assert!(error.to_string().contains("cuda:2 was asked for, but CUDA sees 2"), "{error}");
        let none = || Err("there is no driver".to_owned());
        for (devices, wanted) in [("all", "all"), ("0,cpu", "cuda:0,cpu")] {
            let error = devices.parse::<Devices>().expect("a list").place(none).expect_err("none");
            let words = format!("{wanted} was asked for, but there is no driver; `--devices cpu`");
            assert!(error.to_string().starts_with(&words), "{error}");
        }
    }
}
