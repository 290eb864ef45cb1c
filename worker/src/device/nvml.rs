//! The GPUs of a machine and how busy they are, as its driver tells through NVML. The library is loaded at run time:
//! where there is none, there is nothing to tell. It creates no CUDA context and does not heed `CUDA_VISIBLE_DEVICES`.

use foldwise_shared::device::DeviceUse;
use nvml_wrapper::Device;
use nvml_wrapper::error::NvmlError;

/// NVML, loaded: all its functions by name, which are many, and so on the heap.
pub(super) struct Nvml(Box<nvml_wrapper::Nvml>);

/// A GPU of the machine.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Gpu {
    /// As `nvidia-smi` counts, by the place on the PCI bus.
    pub index: usize,
    /// `GPU-...`
    pub uuid: String,
    /// The maker's name of it.
    pub name: String,
    /// How busy it is; none where the driver does not say.
    pub used: Option<DeviceUse>,
}

impl Nvml {
    /// Loads it.
    ///
    /// # Errors
    /// In words for a person: there is no such library, or it finds no driver.
    pub fn load() -> Result<Self, String> {
        nvml_wrapper::Nvml::init().map(|nvml| Self(Box::new(nvml))).map_err(|error| match error {
            NvmlError::LibloadingError(_) => {
                "the NVIDIA driver's libnvidia-ml.so.1 is not there or cannot be loaded".to_owned()
            }
            error => format!("the NVIDIA driver does not answer: {error}"),
        })
    }

    /// The GPUs that answer, by their index; one that has failed is left out and keeps its index.
    ///
    /// # Errors
    /// Not even their number can be told.
    pub fn gpus(&self) -> Result<Vec<Gpu>, String> {
        let count = self.0.device_count().map_err(|error| format!("NVML counts no GPUs: {error}"))?;
        let mut gpus = Vec::new();
        for index in 0..count {
            match self.gpu(index) {
                Ok(gpu) => gpus.push(gpu),
                Err(error) => tracing::warn!("the GPU with the index {index} is left out: {error}"),
            }
        }
        Ok(gpus)
    }

    fn gpu(&self, number: u32) -> Result<Gpu, NvmlError> {
        let device = self.0.device_by_index(number)?;
        Ok(Gpu {
            index: usize::try_from(number).unwrap_or(usize::MAX),
            uuid: device.uuid()?,
            name: device.name().unwrap_or_else(|_| "unknown GPU".to_owned()),
            used: read(&device),
        })
    }

    /// The version of the driver.
    pub fn driver(&self) -> Option<String> {
        self.0.sys_driver_version().ok()
    }

    /// The index of a GPU, or of the GPU that a part belongs to.
    pub fn index_of(&self, uuid: &str) -> Option<usize> {
        let device = self.0.device_by_uuid(uuid).ok()?;
        let index = device.index().or_else(|_| device.mig_parent_device()?.index());
        usize::try_from(index.ok()?).ok()
    }

    /// How busy a GPU, or a part of one, is. Slow where the driver is.
    pub fn read(&self, uuid: &str) -> Option<DeviceUse> {
        read(&self.0.device_by_uuid(uuid).ok()?)
    }
}

fn read(device: &Device<'_>) -> Option<DeviceUse> {
    let memory = device.memory_info().ok()?;
    // Not told of parts of a GPU.
    let percent = device.utilization_rates().ok().map(|rates| rates.gpu.min(100));
    Some(DeviceUse {
        memory_used: memory.total.saturating_sub(memory.free),
        memory_total: memory.total,
        utilization: percent.map(|percent| f64::from(percent) / 100.0),
    })
}
