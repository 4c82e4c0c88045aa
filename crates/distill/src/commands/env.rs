//! `env`: what this binary is and what is around it, for a report of a fault; `doctor` begins with the same.
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::backend::{self, drivers};
use crate::commands::Outcome;
use crate::dashboard::Vitals;
use crate::run::{Environment, Versions, host_free_bytes};

/// Free memory below which a run of more than the tiny teacher is not to be expected, bytes.
const LOW_MEMORY: u64 = 1 << 30;
/// Variables that change what a command does. Of those that hold a secret only whether they are set is shown.
const VARIABLES: [&str; 8] = [
    "RAYON_NUM_THREADS",
    "RUST_LOG",
    "HF_HOME",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
    "HF_TOKEN",
    "NO_COLOR",
    "CUDA_VISIBLE_DEVICES",
];
const SECRETS: [&str; 1] = ["HF_TOKEN"];

/// Prints it on stdout.
///
/// # Errors
/// A closed pipe.
pub fn run() -> anyhow::Result<Outcome> {
    print(&mut io::stdout().lock(), Path::new("."))?;
    Ok(Outcome::Done)
}

/// Prints it, and returns what to do about what is short: a line each.
pub(super) fn print(out: &mut impl Write, folder: &Path) -> io::Result<Vec<String>> {
    let mut cures = Vec::new();
    let mut line = |name: &str, value: &str| writeln!(out, "{name:<11} {value}");

    let versions = Versions::current();
    let commit =
        (versions.git_commit).map_or(String::new(), |commit| format!(", sources at {commit}"));
    line("distill", &format!("{}{commit}", versions.distill))?;
    line("features", &backend::features().join(", "))?;

    let machine = Environment::current();
    let library = match (cfg!(target_env = "musl"), cfg!(target_env = "gnu")) {
        (true, _) => ", musl",
        (_, true) => ", gnu",
        _ => "",
    };
    line("system", &format!("{}{library}", machine.system))?;
    let cpu = machine.cpu.unwrap_or_else(|| "unknown".into());
    line("cpu", &format!("{cpu}, {} threads", machine.threads))?;
    for driver in drivers() {
        line("graphics", &driver)?;
    }

    if let Some(free) = host_free_bytes() {
        let of = machine
            .memory_bytes
            .map_or(String::new(), |all| format!(" of {}", size(all)));
        line("memory", &format!("{} free{of}", size(free)))?;
        if free < LOW_MEMORY {
            cures.push(
                "memory is short: end other programs, or see that `sweep --dry-run` asks for less"
                    .into(),
            );
        }
    }
    let vitals = Vitals::of(folder, false);
    if let Some((free, all)) = vitals.disk {
        line(
            "disk",
            &format!("{} free of {}, in this folder", size(free), size(all)),
        )?;
    }
    if vitals.low_disk().is_some() {
        cures.push("the disk of this folder is nearly full: free some space, or write elsewhere with `--out`".into());
    }

    if let Some(cache) = hub_cache() {
        line("hub cache", &cache.display().to_string())?;
    }
    for name in VARIABLES {
        if let Some(value) = std::env::var(name).ok().filter(|value| !value.is_empty()) {
            let is_secret = SECRETS.contains(&name);
            line(
                "variable",
                &format!("{name}={}", if is_secret { "(set)" } else { &value }),
            )?;
        }
    }
    Ok(cures)
}

fn size(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0)
}

/// Where models of `hf://` are looked for first; none where there is no home to keep them in.
fn hub_cache() -> Option<PathBuf> {
    let has_place = std::env::var_os("HF_HOME").is_some() || std::env::home_dir().is_some();
    has_place.then(|| hf_hub::Cache::from_env().path().clone())
}
