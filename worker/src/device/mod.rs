//! The devices of this machine, and which of them to train on. CUDA is loaded at run time where it is there, so that
//! one binary serves a CPU-only and a CUDA libtorch.

mod driver;
mod fake;
mod host;
mod list;
mod nvml;
mod seen;
mod usage;
mod visible;

use std::fmt;
use std::str::FromStr;
use std::sync::Once;

use foldwise_shared::device::DeviceUse;
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use tch::{Cuda, Device};
use tokio::sync::watch;

pub use self::list::{DeviceInfo, devices};
pub use self::seen::{VisibleGpu, visible_gpus};

use self::nvml::Nvml;
use self::usage::Source;
use self::visible::Visible;

/// Which device a person asked for: `auto`, `cpu`, `cuda`, `cuda:N` or `fake:N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The first GPU, or the CPU where there is none.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU with this index, as CUDA counts (after `CUDA_VISIBLE_DEVICES`).
    Cuda(usize),
    /// A made-up device, for tests and rehearsals: the CPU does its work.
    Fake(usize),
}

/// Why there is no such device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// A word that names no device.
    #[error("`{0}` is no device; use auto, cpu, cuda or cuda:N (or fake:N for a rehearsal)")]
    Unknown(String),
    /// CUDA cannot be used at all.
    #[error("cuda:{index} was asked for, but {reason}")]
    NoCuda {
        /// The index asked for.
        index: usize,
        /// What is missing.
        reason: String,
    },
    /// CUDA is there, and no GPU can be used right now.
    #[error(
        "cuda:{index} was asked for, but no GPU can be used right now; see what `nvidia-smi` and CUDA_VISIBLE_DEVICES say"
    )]
    Unusable {
        /// The index asked for.
        index: usize,
    },
    /// CUDA has fewer devices.
    #[error(
        "cuda:{index} was asked for, but CUDA sees {count} here, from cuda:0 on (CUDA_VISIBLE_DEVICES counts)"
    )]
    NoSuchIndex {
        /// The index asked for.
        index: usize,
        /// GPUs there are.
        count: usize,
    },
}

impl FromStr for DeviceChoice {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        match text {
            "auto" => Ok(DeviceChoice::Auto),
            "cpu" => Ok(DeviceChoice::Cpu),
            "cuda" => Ok(DeviceChoice::Cuda(0)),
            _ => text
                .split_once(':')
                .and_then(|(kind, index)| {
                    let index = index.parse().ok()?;
                    match kind {
                        "cuda" => Some(DeviceChoice::Cuda(index)),
                        "fake" => Some(DeviceChoice::Fake(index)),
                        _ => None,
                    }
                })
                .ok_or_else(|| DeviceError::Unknown(text.to_owned())),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceChoice::Auto => write!(f, "auto"),
            DeviceChoice::Cpu => write!(f, "cpu"),
            DeviceChoice::Cuda(index) => write!(f, "cuda:{index}"),
            DeviceChoice::Fake(index) => write!(f, "fake:{index}"),
        }
    }
}

impl DeviceChoice {
    /// The device, once it is certain that it is there.
    ///
    /// # Errors
    /// CUDA was asked for and there is none, or not that many.
    pub fn resolve(self) -> Result<Device, DeviceError> {
        match self {
            DeviceChoice::Cpu | DeviceChoice::Fake(_) => Ok(Device::Cpu),
            DeviceChoice::Auto => {
                let found = load_cuda().is_ok() && Cuda::is_available();
                Ok(if found { Device::Cuda(0) } else { Device::Cpu })
            }
            DeviceChoice::Cuda(index) => {
                load_cuda().map_err(|error| DeviceError::NoCuda {
                    index,
                    reason: format!(
                        "libtorch_cuda.so cannot be loaded ({error}); a libtorch with CUDA is needed"
                    ),
                })?;
                if !Cuda::is_available() {
                    return Err(DeviceError::Unusable { index });
                }
                let count = gpu_count();
                if index >= count {
                    Err(DeviceError::NoSuchIndex { index, count })
                } else {
                    Ok(Device::Cuda(index))
                }
            }
        }
    }
}

/// The device that a worker trains on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// For libtorch.
    pub device: Device,
    /// What it is called in the records, for good: its kind and index, and behind a space what no other device in the
    /// world is called, where there is such a name. `cpu`, `cuda:2 GPU-...`, `fake:0 FAKE-...`. The index is the
    /// machine's own (that of `nvidia-smi`) where NVML tells it, else the one CUDA counts for this process.
    pub name: String,
    source: Source,
}

impl DeviceChoice {
    /// Looks up what the device is called.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub fn choose(self) -> Result<Chosen, DeviceError> {
        let device = self.resolve()?;
        let (name, source) = match (self, device) {
            (DeviceChoice::Fake(index), _) => (format!("fake:{index} {}", fake::uuid(index)), Source::Fake),
            (_, Device::Cuda(index)) => {
                let uuid = part(index).or_else(|| driver::info(index).ok()?.uuid);
                let on_machine =
                    uuid.as_ref().and_then(|uuid| Nvml::load().ok()?.index_of(uuid)).unwrap_or(index);
                match uuid {
                    Some(uuid) => (format!("cuda:{on_machine} {uuid}"), Source::Gpu(uuid)),
                    None => (format!("cuda:{on_machine}"), Source::Nothing),
                }
            }
            _ => ("cpu".to_owned(), Source::Cpu),
        };
        Ok(Chosen { device, name, source })
    }
}

impl Chosen {
    /// How busy it is, read on a thread of its own until the receiver is gone.
    pub fn follow_use(&self) -> watch::Receiver<Option<DeviceUse>> {
        usage::follow(self.source.clone())
    }
}

/// The part of a GPU that CUDA counts as this index: the driver would tell the UUID of the whole GPU.
fn part(index: usize) -> Option<String> {
    match visible::visible(&[], cuda_visible_devices().as_deref()).get(index)? {
        Visible::Part(name) => Some(name.clone()),
        Visible::Gpu(_) => None,
    }
}

fn cuda_visible_devices() -> Option<String> {
    std::env::var_os("CUDA_VISIBLE_DEVICES").map(|value| value.to_string_lossy().into_owned())
}

/// Sets how many threads one operation may use on a CPU. Operations never run side by side: one worker a core does more
/// than one worker with several threads.
pub fn set_threads(threads: u16) {
    static INTEROP: Once = Once::new();
    // libtorch panics on a second call.
    INTEROP.call_once(|| tch::set_num_interop_threads(1));
    tch::set_num_threads(i32::from(threads.max(1)));
}

fn gpu_count() -> usize {
    usize::try_from(Cuda::device_count()).unwrap_or(0)
}

/// Makes CUDA known to libtorch, by the library's mere presence in the process; it stays there. Found by the RUNPATH of
/// this binary, or by `LD_LIBRARY_PATH`.
#[expect(unsafe_code, reason = "loading a library runs its initializers")]
fn load_cuda() -> Result<(), libloading::Error> {
    // SAFETY: it is libtorch's own library, of the build that we are linked with, made to be loaded like this; its
    // initializers register the CUDA kernels. Loading it again changes nothing.
    let library = unsafe { Library::open(Some("libtorch_cuda.so"), RTLD_NOW | RTLD_GLOBAL)? };
    std::mem::forget(library);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_parsed_and_shown() {
        for (text, choice) in [
            ("auto", DeviceChoice::Auto),
            ("cpu", DeviceChoice::Cpu),
            ("cuda", DeviceChoice::Cuda(0)),
            ("cuda:3", DeviceChoice::Cuda(3)),
            ("fake:2", DeviceChoice::Fake(2)),
        ] {
            assert_eq!(text.parse(), Ok(choice));
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        for text in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CPU", "fake", "fake:", "cpu:0"] {
            assert_eq!(text.parse::<DeviceChoice>(), Err(DeviceError::Unknown(text.to_owned())));
        }
    }

    #[test]
    fn the_cpu_is_always_there() {
        assert_eq!(DeviceChoice::Cpu.resolve(), Ok(Device::Cpu));
        assert!(DeviceChoice::Auto.resolve().is_ok());
        assert!(!devices().is_empty());
    }

    #[test]
    fn records_name_a_device_for_good() {
        let name = |choice: DeviceChoice| choice.choose().expect("it is there").name;
        assert_eq!(name(DeviceChoice::Cpu), "cpu");
        let (first, second) = (name(DeviceChoice::Fake(0)), name(DeviceChoice::Fake(1)));
        assert!(first.starts_with("fake:0 FAKE-") && second.starts_with("fake:1 FAKE-"), "{first}, {second}");
        assert_eq!(first, name(DeviceChoice::Fake(0)));
        assert_eq!(DeviceChoice::Fake(1).choose().expect("it is there").device, Device::Cpu);
    }

    #[test]
    fn a_missing_gpu_is_named() {
        let error = DeviceChoice::Cuda(4096).resolve().expect_err("nobody has that many");
        assert!(error.to_string().starts_with("cuda:4096 was asked for, but "), "{error}");
    }
}
