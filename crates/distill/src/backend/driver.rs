//! Cards and drivers of graphics processors, as the system lists them: no backend has to be compiled in for it, and none is started.
use std::path::Path;
use std::process::{Command, Stdio};

/// Drivers of the kernel whose modules say their version.
const MODULES: [&str; 4] = ["nvidia", "amdgpu", "i915", "xe"];

/// A line for each NVIDIA card: name, driver, free and total memory; otherwise one for each driver that is loaded. Empty where
/// there is none, or where it cannot be told.
pub fn drivers() -> Vec<String> {
    match nvidia_cards() {
        Some(cards) if !cards.is_empty() => cards,
        _ => loaded(Path::new("/sys/module")),
    }
}

/// What the driver's own program says.
fn nvidia_cards() -> Option<Vec<String>> {
    let output = Command::new("nvidia-smi")
        .args(["--query-gpu=name,driver_version,memory.free,memory.total"])
        .args(["--format=csv,noheader"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| cards_of(&text))
}

/// Lines such as `NVIDIA H200, 580.95.05, 142000 MiB, 143771 MiB`; others are left out.
fn cards_of(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split(',').map(str::trim).collect();
            let [name, driver, free, total] = fields[..] else {
                return None;
            };
            Some(format!(
                "{name}, driver {driver}, {free} of {total} of memory free"
            ))
        })
        .collect()
}

/// Names of the drivers in `modules`, with the version of those that have one.
fn loaded(modules: &Path) -> Vec<String> {
    let of = |name: &&str| {
        let module = modules.join(name);
        let version = std::fs::read_to_string(module.join("version")).ok();
        let shown = version.map_or(String::new(), |version| format!(" {}", version.trim()));
        module.is_dir().then(|| format!("driver {name}{shown}"))
    };
    MODULES.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_read_from_the_drivers_list() {
        let text = "NVIDIA H200, 580.95.05, 142000 MiB, 143771 MiB\nno devices\n";
        let expected = "NVIDIA H200, driver 580.95.05, 142000 MiB of 143771 MiB of memory free";
        assert_eq!(cards_of(text), [expected]);
    }

    #[test]
    fn drivers_are_named_with_the_version_that_they_have() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["amdgpu", "i915", "snd"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        std::fs::write(dir.path().join("i915/version"), "1.6.0\n").unwrap();
        assert_eq!(loaded(dir.path()), ["driver amdgpu", "driver i915 1.6.0"]);
        assert!(loaded(&dir.path().join("absent")).is_empty());
    }
}
