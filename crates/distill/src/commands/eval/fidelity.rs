//! `eval fidelity`: one student beside its teacher.
use std::io::Write;

use crate::backend::{Device, InnerBackend};
use crate::builtin::load_path;
use crate::cli::{AmountArgs, FidelityArgs};
use crate::commands::Outcome;
use crate::data::{Example, text};
use crate::error::DistillError;
use crate::evaluation::{
    Bench, EvaluationSettings, Kept, Subject, batch_limits, json_report, text_report,
};
use crate::recipe::Precision;
use crate::sweep::Teacher;

impl AmountArgs {
    /// What is measured of models with a context of `max_position_embeddings` tokens.
    pub(super) fn settings(
        &self,
        max_context: usize,
        max_position_embeddings: usize,
    ) -> EvaluationSettings {
        EvaluationSettings {
            prompts: self.prompts,
            reply_tokens: self.reply_tokens,
            distance: eval::synthetic::DistanceOptions {
                distances: self.distances.clone(),
                count: self.count,
                n_pairs: self.pairs,
                seed: self.seed,
                max_context: max_position_embeddings,
            },
            max_context: max_context.min(max_position_embeddings),
            task_reply_tokens: usize::MAX,
        }
    }
}

/// Prints teacher and student on stdout.
///
/// # Errors
/// An unreadable model or text, a model without a tokenizer.
pub(super) fn run(args: &FidelityArgs, device: &Device) -> anyhow::Result<Outcome> {
    let loaded = load_path::<InnerBackend>(&args.teacher, device)?;
    let precision = Precision::from(args.precision);
    let tokenizer = loaded.tokenizer.ok_or_else(|| DistillError::NoTokenizer {
        path: args.teacher.clone(),
        cure: "put its `tokenizer.json` into the folder",
    })?;
    let mut windows: Vec<Example> = text::windows(&args.text, &tokenizer, args.window)?;
    windows.truncate(args.windows);
    let teacher = Teacher {
        model: loaded.model.computing_in(precision.compute()),
        tokenizer,
        sha256: loaded.sha256,
    };
    let student = load_path::<InnerBackend>(&args.model, device)?;
    let config = &teacher.model.config().llama;
    let bench = Bench {
        settings: args.amount.settings(0, config.max_position_embeddings),
        teacher: &teacher,
        precision,
        held_out: &windows,
        tasks: &[],
        generative: &[],
        limits: batch_limits(),
        kept: Kept::nowhere(),
        device,
    };
    let subject = Subject::teacher(config.n_layers, &teacher.sha256);
    let of_teacher = bench.measure(&subject, None, |_| ())?;
    let subject = Subject {
        arm: "student".into(),
        attn_layers: student.model.config().attn_layers.len(),
        attention_ratio: student.model.config().attn_layers.len() as f64 / config.n_layers as f64,
        sha256: student.sha256,
        ..subject
    };
    let model = student.model.computing_in(precision.compute());
    let of_student = bench.measure(&subject, Some(model), |_| ())?;
    let teacher = Subject::teacher(config.n_layers, &teacher.sha256);
    let measured = [(teacher, of_teacher), (subject, of_student)];
    let mut stdout = std::io::stdout().lock();
    if args.json {
        let report = json_report(&measured);
        writeln!(stdout, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        write!(stdout, "{}", text_report(&measured))?;
    }
    Ok(Outcome::Done)
}
