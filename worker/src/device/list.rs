//! The devices of this machine, for a person and for `foldwise run`.

use serde::Serialize;
use tch::Cuda;

use super::nvml::{Gpu, Nvml};
use super::visible::{Visible, visible};
use super::{cuda_visible_devices, driver, gpu_count, host, load_cuda};

/// What a device is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeviceInfo {
    /// `cpu` or `cuda`.
    pub kind: &'static str,
    /// Counts from 0 within its kind, after `CUDA_VISIBLE_DEVICES`: what `--device` takes. None where it is hidden.
    pub index: Option<usize>,
    /// The maker's name of it.
    pub name: String,
    /// Its memory in bytes, where it can be told.
    pub memory: Option<u64>,
    /// What of it nobody uses.
    pub memory_free: Option<u64>,
    /// The GPU's own name in the world, `GPU-...`: on a cluster each allocation counts from index 0.
    pub uuid: Option<String>,
    /// The part of the time in which something ran on it lately, from 0 to 1.
    pub utilization: Option<f64>,
    /// The version of the GPU's driver.
    pub driver: Option<String>,
    /// The index on this machine, as `nvidia-smi` counts.
    pub host_index: Option<usize>,
    /// Whether `CUDA_VISIBLE_DEVICES` lets it be seen.
    pub visible: bool,
    /// Whether it is visible and this libtorch can train on it.
    pub usable: bool,
}

/// The GPUs of this machine, those first that can be seen, in CUDA's order; and the CPU where no GPU can be used.
pub fn devices() -> Vec<DeviceInfo> {
    let cuda = load_cuda().is_ok() && Cuda::is_available();
    let told = Nvml::load().and_then(|nvml| Ok((nvml.gpus()?, nvml.driver())));
    let mut devices = match told {
        Ok((gpus, driver)) => {
            let variable = cuda_visible_devices();
            listed(&gpus, variable.as_deref(), driver.as_ref(), cuda)
        }
        // Without NVML there is what libtorch sees, and nothing is known of the rest.
        Err(_) if cuda => (0..gpu_count()).map(seen_by_libtorch).collect(),
        Err(_) => Vec::new(),
    };
    if !devices.iter().any(|device| device.usable) {
        devices.push(host::info());
    }
    devices
}

fn listed(gpus: &[Gpu], variable: Option<&str>, driver: Option<&String>, cuda: bool) -> Vec<DeviceInfo> {
    let names: Vec<(usize, &str)> = gpus.iter().map(|gpu| (gpu.index, gpu.uuid.as_str())).collect();
    let visible = visible(&names, variable);
    let seen = visible.iter().enumerate().map(|(index, visible)| {
        let base = DeviceInfo { index: Some(index), visible: true, usable: cuda, ..DeviceInfo::cuda(driver) };
        match visible {
            Visible::Gpu(place) => match gpus.get(*place) {
                Some(gpu) => base.of(gpu),
                None => base,
            },
            Visible::Part(uuid) => {
                DeviceInfo { name: "part of a GPU".to_owned(), uuid: Some(uuid.clone()), ..base }
            }
        }
    });
    let hidden = gpus
        .iter()
        .enumerate()
        .filter(|(place, _)| !visible.contains(&Visible::Gpu(*place)))
        .map(|(_, gpu)| DeviceInfo::cuda(driver).of(gpu));
    seen.chain(hidden).collect()
}

fn seen_by_libtorch(index: usize) -> DeviceInfo {
    let base = DeviceInfo { index: Some(index), visible: true, usable: true, ..DeviceInfo::cuda(None) };
    match driver::info(index) {
        Ok(info) => DeviceInfo { name: info.name, memory: info.memory, uuid: info.uuid, ..base },
        Err(_) => base,
    }
}

impl DeviceInfo {
    fn cuda(driver: Option<&String>) -> Self {
        Self {
            kind: "cuda",
            index: None,
            name: "unknown GPU".to_owned(),
            memory: None,
            memory_free: None,
            uuid: None,
            utilization: None,
            driver: driver.cloned(),
            host_index: None,
            visible: false,
            usable: false,
        }
    }

    fn of(self, gpu: &Gpu) -> Self {
        Self {
            name: gpu.name.clone(),
            memory: gpu.used.map(|used| used.memory_total),
            memory_free: gpu.used.map(|used| used.memory_total.saturating_sub(used.memory_used)),
            uuid: Some(gpu.uuid.clone()),
            utilization: gpu.used.and_then(|used| used.utilization),
            host_index: Some(gpu.index),
            ..self
        }
    }

    /// A line for a person.
    pub fn line(&self) -> String {
        let gibibytes = |bytes: u64| format!("{:.1} GiB", bytes as f64 / f64::from(1u32 << 30));
        let device = match (self.kind, self.index) {
            ("cuda", Some(index)) => format!("cuda:{index}"),
            ("cuda", None) => "hidden".to_owned(),
            (kind, _) => kind.to_owned(),
        };
        let mut parts = vec![format!("{device}  {}", self.name)];
        parts.extend(self.memory.map(gibibytes));
        parts.extend(self.memory_free.map(|free| format!("{} free", gibibytes(free))));
        parts.extend(self.utilization.map(|part| format!("{:.0} % busy", part * 100.0)));
        parts.extend(self.uuid.clone());
        parts.extend(self.host_index.map(|index| format!("index {index} on this machine")));
        parts.extend(self.driver.as_ref().map(|version| format!("driver {version}")));
        if self.visible && !self.usable {
            parts.push("this libtorch cannot train on it".to_owned());
        }
        if !self.visible {
            parts.push("CUDA_VISIBLE_DEVICES hides it".to_owned());
        }
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use foldwise_shared::device::DeviceUse;

    use super::*;

    fn gpu(index: usize, used: Option<DeviceUse>) -> Gpu {
        Gpu { index, uuid: format!("GPU-{index}"), name: "A100".into(), used }
    }

    #[test]
    fn the_visible_come_first_as_cuda_counts() {
        let used = DeviceUse { memory_used: 1 << 30, memory_total: 80 << 30, utilization: Some(0.25) };
        let gpus = [gpu(0, None), gpu(1, Some(used)), gpu(2, None)];
        let list = listed(&gpus, Some("2,1"), Some(&"550.54".to_owned()), true);
        let brief: Vec<_> =
            list.iter().map(|info| (info.index, info.host_index, info.visible, info.usable)).collect();
        assert_eq!(
            brief,
            [(Some(0), Some(2), true, true), (Some(1), Some(1), true, true), (None, Some(0), false, false)]
        );
        assert_eq!(
            list[1].line(),
            "cuda:1  A100, 80.0 GiB, 79.0 GiB free, 25 % busy, GPU-1, index 1 on this machine, driver 550.54"
        );
        assert_eq!(
            list[2].line(),
            "hidden  A100, GPU-0, index 0 on this machine, driver 550.54, CUDA_VISIBLE_DEVICES hides it"
        );
        assert!(listed(&gpus, None, None, false)[0].line().ends_with("this libtorch cannot train on it"));
    }

    #[test]
    fn a_part_of_a_gpu_is_shown() {
        let list = listed(&[gpu(0, None)], Some("MIG-7"), None, true);
        assert_eq!(list[0].line(), "cuda:0  part of a GPU, MIG-7");
        assert!(!list[1].visible);
    }

    #[test]
    fn a_device_is_json() {
        let info = listed(&[gpu(3, None)], None, None, true).remove(0);
        assert_eq!(
            serde_json::to_string(&info).expect("plain"),
            r#"{"kind":"cuda","index":0,"name":"A100","memory":null,"memory_free":null,"uuid":"GPU-3","utilization":null,"driver":null,"host_index":3,"visible":true,"usable":true}"#
        );
    }
}
