//! The machine that a run was begun on.
use serde::{Deserialize, Serialize};

use super::host_total_bytes;

/// What a report says of the machine; nothing that names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Operating system and architecture.
    pub system: String,
    /// Model of the CPU, where the operating system says.
    pub cpu: Option<String>,
    /// Threads that the process may use at once.
    pub threads: usize,
    /// Memory of the host, bytes, where the operating system says.
    pub memory_bytes: Option<u64>,
}

impl Environment {
    /// This machine.
    pub fn current() -> Self {
        let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpus
            .lines()
            .find_map(|line| line.strip_prefix("model name"));
        Self {
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            cpu: model.map(|model| model.trim_start_matches([' ', '\t', ':']).to_string()),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: host_total_bytes(),
        }
    }
}
