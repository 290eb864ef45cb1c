//! How busy a device is.

use foldwise_shared::device;

use super::WireError;
use crate::v1;

/// The use of a device to the wire.
pub fn device_use(device: device::DeviceUse) -> v1::DeviceUse {
    let device::DeviceUse { memory_used, memory_total, utilization } = device;
    v1::DeviceUse { memory_used, memory_total, utilization }
}

/// The use of a device from the wire.
///
/// # Errors
/// More memory is used than there is, or a part of the time that is none.
pub fn device_use_from(wire: v1::DeviceUse) -> Result<device::DeviceUse, WireError> {
    let v1::DeviceUse { memory_used, memory_total, utilization } = wire;
    if memory_used > memory_total {
        let message = format!("{memory_used} bytes cannot be in use of {memory_total}");
        return Err(WireError::wrong("device_use.memory_used", message));
    }
    if let Some(part) = utilization.filter(|part| !(0.0..=1.0).contains(part)) {
        let message = format!("it must be from 0 to 1, and is {part}");
        return Err(WireError::wrong("device_use.utilization", message));
    }
    Ok(device::DeviceUse { memory_used, memory_total, utilization })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for utilization in [None, Some(0.0), Some(0.37), Some(1.0)] {
            let there = device::DeviceUse { memory_used: 3, memory_total: 3, utilization };
            assert_eq!(device_use_from(device_use(there)), Ok(there));
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (memory_used, utilization, field) in [
            (9, None, "memory_used"),
            (1, Some(f64::NAN), "utilization"),
            (1, Some(f64::INFINITY), "utilization"),
            (1, Some(1.01), "utilization"),
            (1, Some(-0.01), "utilization"),
        ] {
            let error = device_use_from(v1::DeviceUse { memory_used, memory_total: 8, utilization });
            let error = error.expect_err(field).to_string();
            assert!(error.contains(field), "{error}");
        }
    }
}
