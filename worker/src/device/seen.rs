//! The GPUs that CUDA would see, found without CUDA where that can be: whoever starts a worker for each needs no CUDA
//! of its own.

use tch::Cuda;

use super::nvml::{Gpu, Nvml};
use super::visible::{Visible, visible};
use super::{cuda_visible_devices, driver, gpu_count, load_cuda};

/// A GPU that this process sees. Its place in the list is the index that CUDA gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisibleGpu {
    /// A short name, of its own on this machine: `cuda:2`, as `nvidia-smi` counts.
    pub label: String,
    /// The maker's name of it.
    pub name: String,
    /// What to set `CUDA_VISIBLE_DEVICES` to, so that a process sees this one alone. None where only CUDA's index for
    /// this process is known.
    pub uuid: Option<String>,
}

/// The GPUs that this process sees: those that NVML lists, after `CUDA_VISIBLE_DEVICES`; without NVML those that
/// libtorch sees.
///
/// # Errors
/// There are none, and why.
pub fn visible_gpus() -> Result<Vec<VisibleGpu>, String> {
    let nvml = match Nvml::load().and_then(|nvml| nvml.gpus()) {
        Ok(gpus) => {
            let by_bus = std::env::var_os("CUDA_DEVICE_ORDER").is_some_and(|order| order == "PCI_BUS_ID");
            let variable = cuda_visible_devices();
            if !by_bus && may_count_otherwise(&gpus, variable.as_deref()) {
                tracing::warn!(
                    "CUDA may count these GPUs in another order than nvidia-smi, because they differ; write UUIDs in \
                     CUDA_VISIBLE_DEVICES, or set CUDA_DEVICE_ORDER=PCI_BUS_ID"
                );
            }
            return seen(&gpus, variable.as_deref());
        }
        Err(reason) => reason,
    };
    load_cuda().map_err(|error| format!("{nvml}, and libtorch_cuda.so cannot be loaded ({error})"))?;
    let count = if Cuda::is_available() { gpu_count() } else { 0 };
    let gpus: Vec<VisibleGpu> = (0..count)
        .map(|index| VisibleGpu {
            label: format!("cuda:{index}"),
            name: driver::info(index).map_or_else(|_| "unknown GPU".to_owned(), |info| info.name),
            uuid: None,
        })
        .collect();
    if gpus.is_empty() { Err(format!("{nvml}, and libtorch sees no GPU")) } else { Ok(gpus) }
}

fn seen(gpus: &[Gpu], variable: Option<&str>) -> Result<Vec<VisibleGpu>, String> {
    let names: Vec<(usize, &str)> = gpus.iter().map(|gpu| (gpu.index, gpu.uuid.as_str())).collect();
    let seen: Vec<VisibleGpu> = visible(&names, variable)
        .into_iter()
        .enumerate()
        .filter_map(|(index, visible)| match visible {
            Visible::Gpu(place) => gpus.get(place).map(|gpu| VisibleGpu {
                label: format!("cuda:{}", gpu.index),
                name: gpu.name.clone(),
                uuid: Some(gpu.uuid.clone()),
            }),
            Visible::Part(uuid) => Some(VisibleGpu {
                label: format!("mig:{index}"),
                name: "part of a GPU".to_owned(),
                uuid: Some(uuid),
            }),
        })
        .collect();
    match (seen.is_empty(), variable, gpus.len()) {
        (false, ..) => Ok(seen),
        (true, _, 0) => Err("the NVIDIA driver has no GPU that answers".to_owned()),
        (true, variable, count) => Err(format!(
            "CUDA_VISIBLE_DEVICES is `{}`, which lets none of the {count} GPUs here be seen",
            variable.unwrap_or_default()
        )),
    }
}

/// Whether an index in `CUDA_VISIBLE_DEVICES` may mean another GPU to CUDA: by default it puts the fastest first.
fn may_count_otherwise(gpus: &[Gpu], variable: Option<&str>) -> bool {
    let indices = variable.is_some_and(|text| text.split(',').any(|word| word.trim().parse::<u32>().is_ok()));
    indices && gpus.windows(2).any(|pair| pair[0].name != pair[1].name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(index: usize, name: &str) -> Gpu {
        Gpu { index, uuid: format!("GPU-{index}{index}"), name: name.into(), used: None }
    }

    #[test]
    fn labels_are_those_of_the_machine() {
        let gpus = [gpu(0, "A"), gpu(1, "A"), gpu(3, "A")];
        let labels = |variable| -> Vec<String> {
            seen(&gpus, variable).expect("some").into_iter().map(|gpu| gpu.label).collect()
        };
        assert_eq!(labels(None), ["cuda:0", "cuda:1", "cuda:3"]);
        assert_eq!(labels(Some("3,0")), ["cuda:3", "cuda:0"]);
        assert_eq!(labels(Some("MIG-a,MIG-b")), ["mig:0", "mig:1"]);
        let gpu = seen(&gpus, Some("GPU-3")).expect("one").remove(0);
        assert_eq!(gpu.uuid.as_deref(), Some("GPU-33"));
    }

    #[test]
    fn none_is_explained() {
        let error = seen(&[gpu(0, "A")], Some("")).expect_err("hidden");
        assert_eq!(error, "CUDA_VISIBLE_DEVICES is ``, which lets none of the 1 GPUs here be seen");
        assert!(seen(&[], None).expect_err("none").contains("no GPU"));
    }

    #[test]
    fn only_indices_of_unlike_gpus_are_unsure() {
        let (same, mixed) = ([gpu(0, "A"), gpu(1, "A")], [gpu(0, "A"), gpu(1, "B")]);
        for (gpus, variable, unsure) in [
            (&same, Some("1,0"), false),
            (&mixed, Some("1,0"), true),
            (&mixed, Some("GPU-1"), false),
            (&mixed, Some(""), false),
            (&mixed, None, false),
        ] {
            assert_eq!(may_count_otherwise(gpus, variable), unsure, "{variable:?}");
        }
    }
}
