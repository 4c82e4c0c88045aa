//! Where the hub has the benchmarks.
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::task_files;
use crate::hub::HubRepo;

/// Revision at which the hub has every public data set as Parquet, `CONFIGURATION/SPLIT/0000.parquet`.
const PARQUET: &str = "refs/convert/parquet";

/// A benchmark on the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskSource {
    /// Name of the task.
    pub task: &'static str,
    /// Data set; ids and configurations are those of lm-evaluation-harness.
    pub dataset: &'static str,
    /// Its configuration.
    pub config: &'static str,
    /// Splits: that of the task, and how the task calls it in the names of its files.
    pub splits: &'static [(&'static str, &'static str)],
}

/// One a benchmark. `truthfulqa_mc1` and `truthfulqa_mc2` read the same rows.
pub const TASK_SOURCES: [TaskSource; 16] = [
    source(
        "winogrande",
        "allenai/winogrande",
        "winogrande_xl",
        &[("validation", "validation"), ("train", "train")],
    ),
    source(
        "piqa",
        "ybisk/piqa",
        "plain_text",
        &[("validation", "validation"), ("train", "train")],
    ),
    source(
        "hellaswag",
        "Rowan/hellaswag",
        "default",
        &[("validation", "validation"), ("train", "train")],
    ),
    source(
        "arc_easy",
        "allenai/ai2_arc",
        "ARC-Easy",
        &[("test", "test"), ("train", "train")],
    ),
    source(
        "arc_challenge",
        "allenai/ai2_arc",
        "ARC-Challenge",
        &[("test", "test"), ("train", "train")],
    ),
    source(
        "mmlu",
        "cais/mmlu",
        "all",
        &[("test", "test"), ("dev", "dev")],
    ),
    source(
        "openbookqa",
        "allenai/openbookqa",
        "main",
        &[("test", "test"), ("train", "train")],
    ),
    source(
        "truthfulqa_mc1",
        "truthfulqa/truthful_qa",
        "multiple_choice",
        &[("validation", "validation")],
    ),
    source(
        "truthfulqa_mc2",
        "truthfulqa/truthful_qa",
        "multiple_choice",
        &[("validation", "validation")],
    ),
    source(
        "pubmedqa",
        "qiaojin/PubMedQA",
        "pqa_labeled",
        &[("train", "test")],
    ),
    source("race", "EleutherAI/race", "high", &[("test", "test")]),
    source(
        "lambada",
        "EleutherAI/lambada_openai",
        "default",
        &[("test", "test")],
    ),
    source("gsm8k", "openai/gsm8k", "main", &[("test", "test")]),
    source(
        "crux",
        "cruxeval-org/cruxeval",
        "default",
        &[("test", "test")],
    ),
    source("ifeval", "google/IFEval", "default", &[("train", "train")]),
    source(
        "humaneval",
        "openai/openai_humaneval",
        "openai_humaneval",
        &[("test", "test")],
    ),
];

const fn source(
    task: &'static str,
    dataset: &'static str,
    config: &'static str,
    splits: &'static [(&'static str, &'static str)],
) -> TaskSource {
    TaskSource {
        task,
        dataset,
        config,
        splits,
    }
}

impl TaskSource {
    /// Puts the files of a benchmark into `folder`, where `eval` looks for them, and returns them; none if they are there already.
    ///
    /// # Errors
    /// [`DistillError::Hub`](crate::DistillError::Hub); when the folder cannot be written.
    pub fn fetch(&self, folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
        let mut written = Vec::new();
        let repo = HubRepo::dataset(self.dataset, PARQUET);
        for (split, name) in self.splits {
            if task_files::has(self.task, folder, name)? {
                continue;
            }
            let prefix = format!("{}/{split}/", self.config);
            let found =
                repo.files(|file| file.starts_with(&prefix) && file.ends_with(".parquet"))?;
            let parent = folder.join(self.task);
            std::fs::create_dir_all(&parent)
                .with_context(|| format!("could not create `{}`", parent.display()))?;
            for (number, file) in found.iter().enumerate() {
                let path = parent.join(format!("{name}-{number:04}.parquet"));
                model::files::write_with(&path, |part| {
                    std::io::copy(&mut std::fs::File::open(file)?, part).map(drop)
                })?;
                written.push(path);
            }
        }
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use eval::generative::GENERATIVE_TASKS;
    use eval::zero_shot::TASKS;

    use super::*;

    #[test]
    fn every_benchmark_is_somewhere_with_the_splits_that_it_reads() {
        let find = |name: &str| {
            TASK_SOURCES
                .iter()
                .find(|source| source.task == name)
                .unwrap()
        };
        let names = |source: &TaskSource| -> BTreeSet<&str> {
            source.splits.iter().map(|(_, name)| *name).collect()
        };
        for task in &TASKS {
            let wanted = [task.split, task.examples]
                .into_iter()
                .filter(|split| !split.is_empty());
            assert_eq!(names(find(task.name)), wanted.collect(), "{}", task.name);
        }
        for task in &GENERATIVE_TASKS {
            assert_eq!(
                names(find(task.name)),
                BTreeSet::from([task.split]),
                "{}",
                task.name
            );
        }
        assert_eq!(TASK_SOURCES.len(), TASKS.len() + GENERATIVE_TASKS.len());
    }
}
