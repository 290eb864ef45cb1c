//! What a worker says of the device it trains on.

use serde::{Deserialize, Serialize};

/// How busy a device is.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct DeviceUse {
    /// Bytes of memory in use, by anybody.
    pub memory_used: u64,
    /// Bytes of memory there are.
    pub memory_total: u64,
    /// The part of the time in which something ran on it, from 0 to 1; none where it cannot be told.
    pub utilization: Option<f64>,
}
