//! The devices of this machine, and which of them to train on. CUDA is loaded at run time where it is there, so that
//! one binary serves a CPU-only and a CUDA libtorch.

mod driver;
mod host;

use std::fmt;
use std::str::FromStr;
use std::sync::Once;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use serde::Serialize;
use tch::{Cuda, Device};

/// Which device a person asked for: `auto`, `cpu`, `cuda` or `cuda:N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The first GPU, or the CPU where there is none.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU with this index, as CUDA counts (after `CUDA_VISIBLE_DEVICES`).
    Cuda(usize),
}

/// Why there is no such device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// A word that names no device.
    #[error("`{0}` is no device; use auto, cpu, cuda or cuda:N")]
    Unknown(String),
    /// CUDA cannot be used at all.
    #[error("cuda:{index} was asked for, but {reason}")]
    NoCuda {
        /// The index asked for.
        index: usize,
        /// What is missing.
        reason: String,
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
                .strip_prefix("cuda:")
                .and_then(|index| index.parse().ok())
                .map(DeviceChoice::Cuda)
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
            DeviceChoice::Cpu => Ok(Device::Cpu),
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
                    let reason = "no GPU can be used; see what `nvidia-smi` says".to_owned();
                    return Err(DeviceError::NoCuda { index, reason });
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

/// What a device is, for a person and for the coordinator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeviceInfo {
    /// `cpu` or `cuda`.
    pub kind: &'static str,
    /// Counts from 0 within its kind.
    pub index: usize,
    /// The maker's name of it.
    pub name: String,
    /// Its memory in bytes, where it can be told.
    pub memory: Option<u64>,
    /// The GPU's own name in the world, `GPU-...`: on a cluster every job sees index 0.
    pub uuid: Option<String>,
}

/// The devices to train on: every GPU that libtorch can use, or the CPU where there is none.
pub fn devices() -> Vec<DeviceInfo> {
    if load_cuda().is_err() || !Cuda::is_available() {
        return vec![host::info()];
    }
    (0..gpu_count())
        .map(|index| {
            driver::info(index).unwrap_or_else(|_| DeviceInfo::cuda(index, "unknown GPU".to_owned()))
        })
        .collect()
}

impl DeviceInfo {
    fn cuda(index: usize, name: String) -> Self {
        DeviceInfo { kind: "cuda", index, name, memory: None, uuid: None }
    }
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
        ] {
            assert_eq!(text.parse(), Ok(choice));
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        for text in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CPU"] {
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
    fn a_missing_gpu_is_named() {
        let error = DeviceChoice::Cuda(4096).resolve().expect_err("nobody has that many");
        assert!(error.to_string().starts_with("cuda:4096 was asked for, but "), "{error}");
    }

    #[test]
    fn a_device_is_json() {
        let info = DeviceInfo::cuda(1, "A".into());
        assert_eq!(
            serde_json::to_string(&info).expect("plain"),
            r#"{"kind":"cuda","index":1,"name":"A","memory":null,"uuid":null}"#
        );
    }
}
