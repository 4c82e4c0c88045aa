//! A tiny run that nothing happened to, and what others are compared with: every file of it and every step's numbers.
use std::collections::BTreeMap;
use std::path::Path;

use model::files::faults::VARIABLE;
use serde_json::Value;

use crate::teacher::Workplace;

/// A checkpoint after every step, so that most of a run's time and all of its stages are about saving.
pub const RECIPE: &str = r#"
name = "crash"
[teacher]
path = "teacher"
[student]
mixer = "mamba2"
[sweep]
attention_ratios = [0.5]
stages = ["distillation", "sft", "dpo"]
[data]
chat = ["chat.jsonl"]
preferences = ["pairs.jsonl"]
seq_len = 48
pseudo_labels = 6
pseudo_label_tokens = 8
[teacher_cache]
k = 8
[checkpoint]
every_steps = 1
keep = 2
[distillation]
steps = 4
batch_size = 2
grad_accumulation = 2
divergence = "top-k"
top_k = 8
[sft]
steps = 4
batch_size = 2
[dpo]
steps = 3
batch_size = 2
[eval]
perplexity_sequences = 4
task_examples = 2
speed_tokens = 4
"#;

/// Files by their path in the run folder.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Numbers of the steps, by stage and step.
pub type Metrics = BTreeMap<(String, u64), Vec<String>>;

/// A run that was left alone.
pub struct Reference {
    /// Where it and others run.
    pub place: Workplace,
    /// All that its stages and their steps left, and what was computed for them.
    pub files: Files,
    /// Of every step.
    pub metrics: Metrics,
}

impl Reference {
    /// Runs it in the folder `whole`, with every checkpoint kept that is usually removed.
    pub fn new() -> Self {
        let place = Workplace::new();
        std::fs::write(place.path("recipe.toml"), RECIPE).unwrap();
        let output = place
            .distill(&["sweep", "--recipe", "recipe.toml", "--out", "whole"])
            .env(VARIABLE, "keep 0 .steps")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let run = place.path("whole");
        let (files, metrics) = (files(&run), metrics(&run));
        let steps = |name: &&String| name.contains(".steps/") && name.ends_with("manifest.json");
        assert_eq!(files.keys().filter(steps).count(), 3 + 3 + 2);
        assert_eq!(metrics.len(), 4 + 4 + 3);
        assert!(files.keys().any(|name| name.contains("teacher-cache/")));
        Self {
            place,
            files,
            metrics,
        }
    }

    /// Says how a run that ended differs from this one.
    pub fn difference(&self, run: &Path) -> Option<String> {
        let found = files(run);
        let ours = self
            .files
            .iter()
            .filter(|(name, _)| !name.contains(".steps/"));
        let ours: Vec<_> = ours.collect();
        let is_ours = |name: &String| ours.iter().any(|(own, _)| *own == name);
        if let Some(name) = found.keys().find(|name| !is_ours(name)) {
            return Some(format!("`{name}` is too many"));
        }
        for (name, bytes) in ours {
            if found.get(name) != Some(bytes) {
                return Some(format!("`{name}` differs"));
            }
        }
        let metrics = metrics(run);
        let key = self
            .metrics
            .keys()
            .chain(metrics.keys())
            .find(|key| self.metrics.get(*key) != metrics.get(*key))?;
        let [ours, found] = [&self.metrics, &metrics].map(|metrics| metrics.get(key));
        Some(format!("{key:?}: {found:?}, expected {ours:?}"))
    }
}

/// Checkpoints, caches and data of a run, with what was measured of its students; all of it is a function of the recipe.
pub fn files(run: &Path) -> Files {
    let mut found = Files::new();
    for folder in ["checkpoints", "data", "teacher-cache"] {
        collect(run, &run.join(folder), &mut found);
    }
    if let Ok(text) = std::fs::read(run.join("state.json")) {
        let mut state: Value = serde_json::from_slice(&text).unwrap();
        without_speed(&mut state);
        // It covers the speeds.
        state.as_object_mut().unwrap().remove("sha256").unwrap();
        found.insert("state.json".into(), state.to_string().into_bytes());
    }
    found
}

/// Speed differs from run to run.
fn without_speed(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("tokens_per_s");
            fields.values_mut().for_each(without_speed);
        }
        Value::Array(values) => values.iter_mut().for_each(without_speed),
        _ => {}
    }
}

fn collect(run: &Path, folder: &Path, found: &mut Files) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(run, &path, found);
        } else {
            let name = path.strip_prefix(run).unwrap().to_str().unwrap();
            found.insert(name.into(), std::fs::read(&path).unwrap());
        }
    }
}

/// Numbers of the steps of a run as its log has them; of a step that was taken again the last ones.
fn metrics(run: &Path) -> Metrics {
    let log = std::fs::read_to_string(run.join("events.jsonl")).unwrap();
    let (mut stage, mut metrics) = (String::new(), Metrics::new());
    // A kill can tear a line.
    for event in log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
    {
        match event["event"].as_str() {
            Some("stage-started") => stage = event["stage"].to_string(),
            Some("step") => {
                let fields = [
                    "loss",
                    "ce",
                    "kl",
                    "margin",
                    "accuracy",
                    "lr",
                    "grad_norm",
                    "tokens",
                ];
                let numbers = fields.map(|field| event[field].to_string());
                let step = event["step"].as_u64().unwrap();
                metrics.insert((stage.clone(), step), numbers.to_vec());
            }
            _ => {}
        }
    }
    metrics
}
