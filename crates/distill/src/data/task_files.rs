//! The files of a benchmark in a folder of benchmarks.

use std::path::{Path, PathBuf};

use anyhow::Context;
use eval::generative::{GenerativeTask, Question};
use eval::zero_shot::{Item, Task};
use serde_json::Value;

use super::records;
use crate::error::DistillError;

/// How the names of files end that can be read.
const EXTENSIONS: [&str; 4] = ["jsonl", "json", "jsonl.gz", "parquet"];
/// Folders of a hub data set within each other.
const DEPTH: usize = 2;

/// What a task asks.
#[derive(Debug, Clone, Default)]
pub struct TaskItems {
    /// Questions, in the order of the files.
    pub items: Vec<Item>,
    /// Questions to show before others.
    pub examples: Vec<Item>,
}

impl TaskItems {
    /// Reads the first `limit` questions of `task` from `folder`, and examples if `n_shot` asks for some.
    ///
    /// # Errors
    /// [`DistillError::NoTaskFile`]; the first row that is not JSON or lacks a field, with its number.
    pub fn read(
        task: &Task,
        folder: &Path,
        n_shot: usize,
        limit: Option<usize>,
    ) -> anyhow::Result<Self> {
        let read = |split: &'static str, limit: usize| -> anyhow::Result<Vec<Item>> {
            let mut items = Vec::new();
            for row in rows(task.name, task.columns, folder, split)? {
                items.push(task.item(&row.value).with_context(|| row.place)?);
                if items.len() == limit {
                    break;
                }
            }
            Ok(items)
        };
        let examples = match (n_shot, task.examples) {
            (0, _) => Vec::new(),
            (_, "") => {
                return Err(DistillError::NoExamples { task: task.name }.into());
            }
            (_, split) => read(split, usize::MAX)?,
        };
        Ok(Self {
            items: read(task.split, limit.unwrap_or(usize::MAX))?,
            examples,
        })
    }
}

/// Reads the first `limit` questions of a task of replies from `folder`.
///
/// # Errors
/// As [`TaskItems::read`].
pub fn questions(
    task: &GenerativeTask,
    folder: &Path,
    limit: Option<usize>,
) -> anyhow::Result<Vec<Question>> {
    let rows = rows(task.name, task.columns, folder, task.split)?;
    let question = |row: TaskRow| task.question(&row.value).with_context(|| row.place);
    rows.into_iter()
        .take(limit.unwrap_or(usize::MAX))
        .map(question)
        .collect()
}

/// A row of a task file.
struct TaskRow {
    value: Value,
    /// File and row, for an error.
    place: String,
}

/// The rows of the files of task `name` for `split`, one file after another.
///
/// # Errors
/// [`DistillError::NoTaskFile`]; the first row that is not JSON, with its number.
fn rows(
    name: &'static str,
    columns: &[&str],
    folder: &Path,
    split: &'static str,
) -> anyhow::Result<Vec<TaskRow>> {
    let files = find(name, folder, split)?;
    if files.is_empty() {
        let folder = folder.into();
        return Err(DistillError::NoTaskFile {
            task: name,
            folder,
            split,
        }
        .into());
    }
    let mut all = Vec::new();
    for path in files {
        for row in records::rows(&path, columns)? {
            let (number, value) = row?;
            let place = format!("`{}`: row {number}", path.display());
            all.push(TaskRow {
                value: value.with_context(|| place.clone())?,
                place,
            });
        }
    }
    Ok(all)
}

/// Whether `folder` has a file of task `name` with its scored rows.
///
/// # Errors
/// When the folder cannot be read.
pub fn has(name: &str, folder: &Path, split: &str) -> anyhow::Result<bool> {
    Ok(!find(name, folder, split)?.is_empty())
}

/// Those of `all` that `names` name, once each; of the name `all` those that have a file in `folder`. `key` gives name and split.
///
/// # Errors
/// [`DistillError::NoTasks`] if nothing is chosen; when the folder cannot be read.
pub fn chosen<T>(
    all: &'static [T],
    key: impl Fn(&T) -> (&'static str, &'static str),
    names: &[String],
    folder: &Path,
) -> anyhow::Result<Vec<&'static T>> {
    let is_named = |name: &str| names.iter().any(|named| named == name);
    let mut chosen = Vec::new();
    for task in all {
        let (name, split) = key(task);
        if is_named(name) || (is_named("all") && has(name, folder, split)?) {
            chosen.push(task);
        }
    }
    match chosen.is_empty() {
        true => Err(DistillError::NoTasks {
            folder: folder.into(),
        }
        .into()),
        false => Ok(chosen),
    }
}

/// `NAME.EXT`, else `cases.EXT` or `SPLIT*.EXT` below `NAME`, sorted by name.
fn find(name: &str, folder: &Path, split: &str) -> anyhow::Result<Vec<PathBuf>> {
    for extension in EXTENSIONS {
        let path = folder.join(format!("{name}.{extension}"));
        if path.is_file() {
            return Ok(vec![path]);
        }
    }
    let mut found = Vec::new();
    below(&folder.join(name), DEPTH, &mut found)?;
    let is_wanted = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let known = EXTENSIONS.iter().find_map(|extension| {
            let stem = name.strip_suffix(extension)?.strip_suffix('.')?;
            Some(stem == "cases" || stem.starts_with(split))
        });
        known.unwrap_or(false)
    };
    found.retain(is_wanted);
    found.sort();
    Ok(found)
}

fn below(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    let context = || format!("could not read `{}`", folder.display());
    for entry in std::fs::read_dir(folder).with_context(context)? {
        let path = entry.with_context(context)?.path();
        match path.is_dir() {
            true if depth > 0 => below(&path, depth - 1, found)?,
            true => {}
            false => found.push(path),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use eval::zero_shot::TASKS;

    use super::*;

    fn task(name: &str) -> &'static Task {
        TASKS.iter().find(|task| task.name == name).unwrap()
    }

    const ROW: &str =
        r#"{"goal": "Boil it.", "sol1": "In water.", "sol2": "In sand.", "label": 0}"#;

    #[test]
    fn files_are_found_flat_in_folders_and_by_split() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, rows: usize| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, format!("{ROW}\n").repeat(rows)).unwrap();
        };
        let count = |n_shot, limit| {
            let read = TaskItems::read(task("piqa"), dir.path(), n_shot, limit);
            read.map(|read| (read.items.len(), read.examples.len()))
                .map_err(|error| {
                    format!("{error:#}").replace(&dir.path().display().to_string(), "DIR")
                })
        };
        assert_eq!(
            count(0, None).unwrap_err(),
            "no file of task `piqa` in `DIR`, expected `piqa.jsonl`, `piqa/cases.jsonl` or `piqa/validation*.parquet`"
        );
        write("piqa/plain_text/validation-00001.jsonl", 2);
        write("piqa/plain_text/validation-00000.jsonl", 3);
        write("piqa/plain_text/train-00000.jsonl", 4);
        write("piqa/plain_text/README.md", 1);
        assert_eq!(count(0, None), Ok((5, 0)));
        assert_eq!(count(2, Some(1)), Ok((1, 4)));
        write("piqa.jsonl", 7);
        assert_eq!(count(0, None), Ok((7, 0)));
    }

    #[test]
    fn a_bad_row_is_named_by_file_row_and_field() {
        let dir = tempfile::tempdir().unwrap();
        let fails = |rows: &str| {
            std::fs::write(dir.path().join("piqa.jsonl"), rows).unwrap();
            let error = TaskItems::read(task("piqa"), dir.path(), 0, None).unwrap_err();
            format!("{error:#}").replace(&dir.path().display().to_string(), "DIR")
        };
        let empty = r#"{"goal": "Boil it.", "sol1": "", "sol2": "In sand.", "label": 0}"#;
        let label = r#"{"goal": "Boil it.", "sol1": "a", "sol2": "b", "label": 2}"#;
        let missing = r#"{"goal": "Boil it.", "sol2": "b", "label": 1}"#;
        let number = r#"{"goal": 7, "sol1": "a", "sol2": "b", "label": 1}"#;
        let errors = [empty, label, missing, number, "nonsense"]
            .map(|row| fails(&format!("{ROW}\n{row}\n")));
        insta::assert_snapshot!(errors.join("\n"));
        let error = TaskItems::read(task("lambada"), dir.path(), 3, None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "task `lambada` takes no examples, expected `--shots 0`"
        );
    }
}
