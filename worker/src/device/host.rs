//! What the CPU is called and how much memory there is, as far as the system tells.

use super::DeviceInfo;

/// The CPU; its name and memory come from `/proc` and are unknown elsewhere.
pub(super) fn info() -> DeviceInfo {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    DeviceInfo {
        kind: "cpu",
        index: 0,
        name: model_name(&read("/proc/cpuinfo")).unwrap_or(std::env::consts::ARCH).to_owned(),
        memory: total_memory(&read("/proc/meminfo")),
        uuid: None,
    }
}

fn model_name(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim())
}

fn total_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
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
        assert_eq!(total_memory("MemTotal:       24644712 kB\nMemFree: 1 kB\n"), Some(24_644_712 * 1024));
        assert_eq!(total_memory("MemTotal: many"), None);
    }
}
