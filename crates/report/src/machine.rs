//! The machine that a run is on.

use sysinfo::{CpuRefreshKind, RefreshKind, System};

/// What the numbers of a run depend on besides its choices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The processor's model, as it calls itself.
    pub cpu: String,
    /// The logical cores that this process may use.
    pub cores: usize,
    /// The operating system with its version, and the architecture.
    pub system: String,
}

impl Machine {
    /// The machine that this program runs on. What the operating system does not tell is "unknown", or 1 core.
    pub fn here() -> Self {
        let system = System::new_with_specifics(RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing()));
        let brand = system.cpus().first().map_or("", |cpu| cpu.brand()).trim();
        let release = System::long_os_version().unwrap_or_else(|| std::env::consts::OS.into());
        Self {
            cpu: if brand.is_empty() { "unknown".into() } else { brand.into() },
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            system: format!("{release}, {}", std::env::consts::ARCH),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known() {
        let machine = Machine::here();
        assert!(machine.cores >= 1 && !machine.cpu.is_empty());
        assert!(machine.system.ends_with(std::env::consts::ARCH), "{machine:?}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_processor_is_the_one_of_proc() {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap();
        if let Some(line) = info.lines().find(|line| line.starts_with("model name")) {
            assert_eq!(Machine::here().cpu, line.split_once(':').unwrap().1.trim());
        }
    }
}
