//! How busy a device is, read again and again on a thread of its own: a driver can take its time, and a heartbeat must
//! not wait for it.

use std::time::Duration;

use foldwise_shared::device::DeviceUse;
use tokio::sync::watch;

use super::nvml::Nvml;
use super::{fake, host};

/// From the first reading to the second: a part of the time is told from the second on.
const SOON: Duration = Duration::from_secs(1);
/// From one reading to the next.
const PAUSE: Duration = Duration::from_secs(5);

/// What there is to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// The GPU with this UUID.
    Gpu(String),
    /// The machine's processors and memory.
    Cpu,
    /// This process, as if it were a device.
    Fake,
    /// Nothing.
    Nothing,
}

/// Reads from now on, until the receiver is gone; it holds what was read last.
pub(super) fn follow(source: Source) -> watch::Receiver<Option<DeviceUse>> {
    let (sender, readings) = watch::channel(None);
    if source == Source::Nothing {
        return readings;
    }
    let body = move || {
        let Some(mut reader) = Reader::new(source) else { return };
        let mut pause = SOON;
        while !sender.is_closed() {
            if let Some(used) = reader.read() {
                sender.send_replace(Some(used));
            }
            std::thread::sleep(pause);
            pause = PAUSE;
        }
    };
    if let Err(error) = std::thread::Builder::new().name("device use".to_owned()).spawn(body) {
        tracing::warn!("how busy the device is will not be told: the system gives no thread for it: {error}");
    }
    readings
}

enum Reader {
    Gpu(Nvml, String),
    Cpu(host::Load),
    Fake(host::OwnLoad),
}

impl Reader {
    fn new(source: Source) -> Option<Self> {
        match source {
            Source::Gpu(uuid) => match Nvml::load() {
                Ok(nvml) => Some(Self::Gpu(nvml, uuid)),
                Err(reason) => {
                    tracing::info!("how busy the GPU is cannot be told: {reason}");
                    None
                }
            },
            Source::Cpu => Some(Self::Cpu(host::Load::default())),
            Source::Fake => Some(Self::Fake(host::OwnLoad::default())),
            Source::Nothing => None,
        }
    }

    fn read(&mut self) -> Option<DeviceUse> {
        match self {
            Self::Gpu(nvml, uuid) => nvml.read(uuid),
            Self::Cpu(load) => {
                let (memory_used, memory_total) = host::memory()?;
                Some(DeviceUse { memory_used, memory_total, utilization: load.since_last() })
            }
            Self::Fake(load) => Some(DeviceUse {
                memory_used: host::own_memory()?.min(fake::MEMORY),
                memory_total: fake::MEMORY,
                utilization: load.since_last(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_cpu_and_a_fake_device_are_read() {
        for (source, total) in [(Source::Cpu, None), (Source::Fake, Some(fake::MEMORY))] {
            let mut readings = follow(source.clone());
            let first = *readings.wait_for(Option::is_some).await.expect("a reader");
            let first = first.expect("a reading");
            assert!(
                first.memory_used > 0 && first.memory_used <= first.memory_total,
                "{source:?}: {first:?}"
            );
            assert_eq!(total.unwrap_or(first.memory_total), first.memory_total);
            assert_eq!(first.utilization, None, "nothing to compare with yet");
            let told = |used: &Option<DeviceUse>| used.is_some_and(|used| used.utilization.is_some());
            let second = *readings.wait_for(told).await.expect("a reader");
            let part = second.and_then(|used| used.utilization).expect("a part of the time");
            assert!((0.0..=1.0).contains(&part), "{source:?}: {part}");
        }
    }

    #[test]
    fn nothing_is_read_where_there_is_nothing() {
        assert_eq!(*follow(Source::Nothing).borrow(), None);
        assert_eq!(*follow(Source::Gpu("GPU-nowhere".into())).borrow(), None);
    }
}
