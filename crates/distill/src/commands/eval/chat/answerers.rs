//! Whose answers `eval chat` judges: a model's, those of a run, or a file's.
use std::path::PathBuf;

use anyhow::{Context, ensure};
use eval::judge::Protocol;
use model::load::LoadedModel;

use super::super::progress_bar;
use crate::backend::{Device, InnerBackend};
use crate::builtin::{self, load_path, required_tokenizer};
use crate::cli::{ChatArgs, PrecisionArg};
use crate::error::DistillError;
use crate::evaluation::chat::{Answered, Answering, KeptLines, Questions, aligned, read_answers};
use crate::evaluation::subjects;
use crate::recipe::{Precision, TeacherSource};
use crate::run::RunFolder;

/// File of the answers in the folder of a model.
const ANSWERS: &str = "answers.jsonl";

/// A model that answers, or its answers.
pub(super) struct Answerer {
    /// Name in tables.
    pub(super) name: String,
    /// Folder of its answers and judgments.
    pub(super) folder: PathBuf,
    source: Source,
}

enum Source {
    Model {
        path: PathBuf,
        precision: Precision,
        sha256: Option<String>,
    },
    File(PathBuf),
}

/// Who is to be judged, in the order of the table.
pub(super) fn answerers(args: &ChatArgs, protocol: Protocol) -> anyhow::Result<Vec<Answerer>> {
    let answering = &args.answering;
    let Some(run) = &answering.run else {
        let folder = args.out.clone().context("clap requires `--out`")?;
        let (path, source) = match (&answering.model, &answering.answers) {
            (Some(path), _) => {
                let precision = Precision::from(answering.precision.unwrap_or(PrecisionArg::F32));
                (
                    path,
                    Source::Model {
                        path: path.clone(),
                        precision,
                        sha256: None,
                    },
                )
            }
            (None, Some(path)) => (path, Source::File(path.clone())),
            (None, None) => unreachable!("clap requires one of the three"),
        };
        return Ok(vec![Answerer {
            name: path.display().to_string(),
            folder,
            source,
        }]);
    };
    let manifest = RunFolder::manifest(run)?;
    let state = RunFolder::state_of(run)?;
    let precision = manifest.plan.precision;
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| run.join("eval/chat").join(protocol.name()));
    let of = |name: String, path: PathBuf, sha256: String| Answerer {
        folder: out.join(name.replace(" %", "").replace([' ', '/'], "-")),
        name,
        source: Source::Model {
            path,
            precision,
            sha256: Some(sha256),
        },
    };
    let teacher = match &manifest.plan.teacher {
        TeacherSource::Builtin(_) => PathBuf::from(builtin::NAME),
        TeacherSource::Path(path) => path.clone(),
    };
    let mut all = vec![of(
        "teacher".into(),
        teacher,
        manifest.teacher_sha256.clone(),
    )];
    for subject in subjects(&manifest.plan, &state, run) {
        if let Some(folder) = subject.folder.clone().filter(|_| subject.is_last) {
            all.push(of(
                format!("{} {}", subject.label(), subject.stage_name()),
                folder,
                subject.sha256.clone(),
            ));
        }
    }
    ensure!(
        all.len() > 1,
        "no checkpoint is finished in `{}`",
        run.display()
    );
    Ok(all)
}

impl Answerer {
    /// Its answers to all questions, those that are not kept from the model itself.
    pub(super) fn answers(
        &self,
        args: &ChatArgs,
        protocol: Protocol,
        questions: &Questions,
        device: &Device,
    ) -> anyhow::Result<Vec<Answered>> {
        let (path, precision, sha256) = match &self.source {
            Source::File(path) => {
                let answers = aligned(
                    protocol,
                    &questions.items,
                    &read_answers(protocol, path)?,
                    path,
                )?;
                let answered = |answer| Answered {
                    answer,
                    truncated: 0,
                    unended: 0,
                };
                return Ok(answers.into_iter().map(answered).collect());
            }
            Source::Model {
                path,
                precision,
                sha256,
            } => (path, *precision, sha256.clone()),
        };
        let mut loaded: Option<LoadedModel<InnerBackend>> = None;
        let sha256 = match sha256 {
            Some(sha256) => sha256,
            None => loaded.insert(load_path(path, device)?).sha256.clone(),
        };
        let answering = Answering {
            protocol,
            name: &self.name,
            sha256: &sha256,
            precision,
            reply_tokens: args.answering.reply_tokens,
            rows: args.answering.batch,
            seed: args.answering.seed,
        };
        let (mut kept, lines) = KeptLines::open(&self.folder.join(ANSWERS))?;
        let mut found = answering.kept(&questions.items, &lines);
        let open = found.iter().filter(|answer| answer.is_none()).count();
        if open > 0 {
            let loaded = match loaded {
                Some(loaded) => loaded,
                None => load_path::<InnerBackend>(path, device)?,
            };
            ensure!(
                loaded.sha256 == sha256,
                DistillError::CheckpointHash {
                    path: path.clone(),
                    found: loaded.sha256,
                    expected: sha256
                }
            );
            let tokenizer = required_tokenizer(loaded.tokenizer.as_ref(), path)?;
            let model = loaded.model.computing_in(precision.compute());
            let bar = progress_bar(open as u64);
            answering.answer(
                &questions.items,
                &mut found,
                (&model, tokenizer),
                &mut kept,
                |done| {
                    bar.set_position(done as u64);
                },
            )?;
            bar.finish_and_clear();
        }
        found
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .context("every question was answered")
    }
}
