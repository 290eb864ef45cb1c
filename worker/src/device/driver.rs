//! Names, memory and UUIDs of GPUs, asked of the CUDA driver, whose indices are libtorch's own (`nvidia-smi` counts
//! in another order and does not heed `CUDA_VISIBLE_DEVICES`).

use std::ffi::{CStr, c_char, c_int, c_uint};

use libloading::Library;

/// A GPU as CUDA's driver describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DriverInfo {
    /// The maker's name of it.
    pub name: String,
    /// Its memory in bytes.
    pub memory: Option<u64>,
    /// `GPU-...`
    pub uuid: Option<String>,
}

/// What `cuda:index` is.
///
/// # Errors
/// There is no driver, or it lacks a function or refuses a call.
#[expect(unsafe_code, reason = "the driver's C functions have no safe binding that loads them at run time")]
pub(super) fn info(index: usize) -> Result<DriverInfo, DriverError> {
    let ordinal = c_int::try_from(index).map_err(|_| DriverError::Refused("cuDeviceGet", 101))?;
    // SAFETY: names, signatures and buffer sizes are those of `cuda.h`, unchanged since CUDA 9.2 (a C interface
    // kept stable by the maker): `CUresult` and `CUdevice` are ints, a `CUuuid` is 16 bytes, a name is cut to the
    // length passed and ends in a zero. All pointers are to locals that outlive the calls.
    unsafe {
        let driver = Library::new("libcuda.so.1")?;
        let init = driver.get::<unsafe extern "C" fn(c_uint) -> c_int>(b"cuInit\0")?;
        let get = driver.get::<unsafe extern "C" fn(*mut c_int, c_int) -> c_int>(b"cuDeviceGet\0")?;
        let get_name =
            driver.get::<unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int>(b"cuDeviceGetName\0")?;
        let get_memory =
            driver.get::<unsafe extern "C" fn(*mut usize, c_int) -> c_int>(b"cuDeviceTotalMem_v2\0")?;
        let get_uuid =
            driver.get::<unsafe extern "C" fn(*mut [u8; 16], c_int) -> c_int>(b"cuDeviceGetUuid\0")?;

        let mut device = 0;
        let mut name: [c_char; 256] = [0; 256];
        let mut memory = 0;
        let mut uuid = [0; 16];
        check("cuInit", init(0))?;
        check("cuDeviceGet", get(&raw mut device, ordinal))?;
        check("cuDeviceGetName", get_name(name.as_mut_ptr(), 255, device))?;
        check("cuDeviceTotalMem", get_memory(&raw mut memory, device))?;
        check("cuDeviceGetUuid", get_uuid(&raw mut uuid, device))?;
        // A driver that is loaded stays loaded: libtorch uses it too.
        std::mem::forget(driver);
        Ok(DriverInfo {
            name: CStr::from_ptr(name.as_ptr()).to_string_lossy().into_owned(),
            memory: u64::try_from(memory).ok(),
            uuid: Some(uuid_text(uuid)),
        })
    }
}

/// Why the driver told nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum DriverError {
    /// It cannot be loaded, or lacks a function.
    #[error(transparent)]
    Load(#[from] libloading::Error),
    /// A call failed.
    #[error("{0} failed with {1}")]
    Refused(&'static str, c_int),
}

fn check(function: &'static str, result: c_int) -> Result<(), DriverError> {
    if result == 0 { Ok(()) } else { Err(DriverError::Refused(function, result)) }
}

/// As `nvidia-smi -L` writes it.
fn uuid_text(bytes: [u8; 16]) -> String {
    let mut text = String::from("GPU");
    for (position, byte) in bytes.iter().enumerate() {
        if [0, 4, 6, 8, 10].contains(&position) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_reads_as_everywhere() {
        let bytes = std::array::from_fn(|position| u8::try_from(position * 17).expect("below 256"));
        assert_eq!(uuid_text(bytes), "GPU-00112233-4455-6677-8899-aabbccddeeff");
    }

    #[test]
    fn no_gpu_is_an_error() {
        assert!(info(usize::MAX).is_err());
    }
}
