//! What events say of a step and of a student beside its losses.
use kernels::SsmBackend;
use serde::{Deserialize, Serialize};

/// Where the time of a step went, milliseconds, the device being waited for after each part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct StepParts {
    /// Examples dealt and put into batches; the reference of DPO.
    pub data_ms: f64,
    /// The teacher's forward pass.
    pub teacher_ms: f64,
    /// The student's forward pass and the loss.
    pub forward_ms: f64,
    /// The backward pass.
    pub backward_ms: f64,
    /// Clipping and the update.
    pub optimizer_ms: f64,
}

impl StepParts {
    /// Names and times in order.
    pub fn named(&self) -> [(&'static str, f64); 5] {
        [
            ("data", self.data_ms),
            ("teacher", self.teacher_ms),
            ("forward", self.forward_ms),
            ("backward", self.backward_ms),
            ("optimizer", self.optimizer_ms),
        ]
    }

    /// All of it.
    pub fn total_ms(&self) -> f64 {
        self.named().iter().map(|(_, ms)| ms).sum()
    }
}

/// Memory that a process holds, bytes, where it can be told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryUse {
    /// Of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_bytes: Option<u64>,
    /// Most of the host so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_peak_bytes: Option<u64>,
    /// Of the device, in tensors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_bytes: Option<u64>,
    /// Of the device, in tensors or kept for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_reserved_bytes: Option<u64>,
}

impl MemoryUse {
    /// Memory of the host that this process holds, and has held at most.
    pub fn of_host() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            host_bytes: kib_line(&status, "VmRSS:"),
            host_peak_bytes: kib_line(&status, "VmHWM:"),
            ..Self::default()
        }
    }

    /// Memory of the host and of `device` that this process holds.
    pub fn now<B: SsmBackend>(device: &B::Device) -> Self {
        let held = B::device_memory(device);
        Self {
            device_bytes: held.map(|held| held.in_use),
            device_reserved_bytes: held.map(|held| held.reserved),
            ..Self::of_host()
        }
    }
}

/// Memory of this machine, bytes, where the operating system says.
pub fn host_total_bytes() -> Option<u64> {
    kib_line(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")
}

/// Memory of this machine that a process can still take, bytes: no more than its control group leaves.
pub fn host_free_bytes() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.and_then(|text| kib_line(&text, "MemAvailable:"));
    let group = |name: &str| -> Option<u64> {
        let text = std::fs::read_to_string(format!("/sys/fs/cgroup/memory.{name}")).ok()?;
        text.trim().parse().ok()
    };
    let left = (group("max").zip(group("current"))).map(|(most, held)| most.saturating_sub(held));
    machine.into_iter().chain(left).min()
}

/// The value of a line such as `VmRSS:   1234 kB`, bytes.
fn kib_line(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(1024 * kib)
}

/// A prompt with what teacher and student make of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The prompt, without the marks of the chat template.
    pub prompt: String,
    /// The teacher's reply.
    pub teacher: String,
    /// The student's reply.
    pub student: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_system_are_read_in_bytes() {
        let text = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t   1024 kB\n";
        assert_eq!(kib_line(text, "VmRSS:"), Some(1 << 20));
        assert_eq!(kib_line(text, "VmHWM:"), Some(2 << 20));
        assert_eq!(kib_line(text, "VmSwap:"), None);
    }

    #[test]
    fn parts_add_up() {
        let parts = StepParts {
            data_ms: 1.0,
            teacher_ms: 2.0,
            forward_ms: 4.0,
            backward_ms: 8.0,
            optimizer_ms: 16.0,
        };
        assert_eq!(parts.total_ms(), 31.0);
    }
}
