//! What the CPU is called, how much memory there is and how busy both are, as far as the system tells.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::DeviceInfo;

/// The CPU; its name and memory come from `/proc` and are unknown elsewhere.
pub(super) fn info() -> DeviceInfo {
    let meminfo = read("/proc/meminfo");
    DeviceInfo {
        kind: "cpu",
        index: Some(0),
        name: model_name(&read("/proc/cpuinfo")).unwrap_or(std::env::consts::ARCH).to_owned(),
        memory: kibibytes(&meminfo, "MemTotal:"),
        memory_free: kibibytes(&meminfo, "MemAvailable:"),
        uuid: None,
        utilization: None,
        driver: None,
        host_index: None,
        visible: true,
        usable: true,
    }
}

/// Bytes of memory in use on this machine, and bytes there are.
pub(super) fn memory() -> Option<(u64, u64)> {
    let meminfo = read("/proc/meminfo");
    let total = kibibytes(&meminfo, "MemTotal:")?;
    Some((total.saturating_sub(kibibytes(&meminfo, "MemAvailable:")?), total))
}

/// Bytes of memory that this process has in use.
pub(super) fn own_memory() -> Option<u64> {
    kibibytes(&read("/proc/self/status"), "VmRSS:")
}

/// The part of the processors' time that was used, from one look to the next.
#[derive(Debug, Default)]
pub(super) struct Load {
    last: Option<Ticks>,
}

/// What all processors have done since the system started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticks {
    busy: u64,
    all: u64,
}

impl Load {
    /// Since the last call; none at the first.
    pub fn since_last(&mut self) -> Option<f64> {
        let now = ticks(&read("/proc/stat"))?;
        let last = self.last.replace(now)?;
        let (busy, all) = (now.busy.saturating_sub(last.busy), now.all.saturating_sub(last.all));
        (all > 0).then(|| (busy as f64 / all as f64).clamp(0.0, 1.0))
    }
}

/// The part of one processor's time that this process used, from one look to the next.
#[derive(Debug, Default)]
pub(super) struct OwnLoad {
    last: Option<(Instant, Duration)>,
}

impl OwnLoad {
    /// Since the last call; none at the first. Several threads are no more than one that is always busy.
    pub fn since_last(&mut self) -> Option<f64> {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        let used = Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?);
        let now = Instant::now();
        let (then, before) = self.last.replace((now, used))?;
        let (elapsed, used) = (now.duration_since(then), used.saturating_sub(before));
        (!elapsed.is_zero()).then(|| (used.as_secs_f64() / elapsed.as_secs_f64()).min(1.0))
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The first line of `/proc/stat`: user, nice, system, idle, waiting for a disk, and more that is busy. What guests use
/// is in the first two already.
fn ticks(stat: &str) -> Option<Ticks> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let fields: Vec<u64> = line.split_whitespace().take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
    let idle = fields.get(3)?.checked_add(*fields.get(4)?)?;
    let all = fields.iter().try_fold(0u64, |sum, ticks| sum.checked_add(*ticks))?;
    Some(Ticks { busy: all - idle, all })
}

fn model_name(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim())
}

/// The bytes that a line of `/proc/meminfo` or `/proc/self/status` tells.
fn kibibytes(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_read() {
        let cpuinfo = "processor\t: 0\nmodel name\t: A CPU @ 2.00GHz\nmodel name\t: another\n";
        assert_eq!(model_name(cpuinfo), Some("A CPU @ 2.00GHz"));
        assert_eq!(model_name("processor : 0"), None);
        let meminfo = "MemTotal:       24644712 kB\nMemFree: 1 kB\n";
        assert_eq!(kibibytes(meminfo, "MemTotal:"), Some(24_644_712 * 1024));
        assert_eq!(kibibytes(meminfo, "MemFree:"), Some(1024));
        assert_eq!(kibibytes(meminfo, "MemAvailable:"), None);
        assert_eq!(kibibytes("MemTotal: many", "MemTotal:"), None);
        let stat = "cpu  10 1 20 60 5 2 1 1 9 0\ncpu0 1 2 3 4 5 6 7 8 9 0\n";
        assert_eq!(ticks(stat), Some(Ticks { busy: 35, all: 100 }));
        for wrong in ["", "cpu  1 2 3", "cpu  1 2 3 x 5", "intr 1 2 3 4 5"] {
            assert_eq!(ticks(wrong), None, "{wrong}");
        }
    }
}
