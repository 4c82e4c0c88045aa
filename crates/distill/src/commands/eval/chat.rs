//! `eval chat`: answers to the questions of MT-Bench or AlpacaEval, and what a judge makes of them.
mod answerers;

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use eval::judge::length_controlled::difficulties;
use eval::judge::score::combine;
use eval::judge::{Ask, ChatAnswer, JudgePrompts, Protocol, Said, pairwise_asks, single_asks};
use serde_json::{Value, json};

use answerers::{Answerer, answerers};

use super::progress_bar;
use crate::backend::{Device, InnerBackend};
use crate::builtin::{load_path, required_tokenizer};
use crate::cli::{ChatArgs, JudgeArgs};
use crate::commands::{Outcome, key_from_env};
use crate::error::DistillError;
use crate::evaluation::chat::{
    Answered, ChatReport, Endpoint, EndpointOptions, Judge, JudgeName, KeptLines, LocalJudge, Mode,
    Named, Questions, Verdicts, aligned, hear_all, markdown, read_answers, read_prompts, text,
};

/// File of the judgments in the folder of a model.
const JUDGMENTS: &str = "judgments.jsonl";

/// Prints one row a model on stdout.
///
/// # Errors
/// A bad row, questions without an answer, an unreadable model, a judge that cannot be reached.
pub(super) fn run(args: &ChatArgs, device: &Device) -> anyhow::Result<Outcome> {
    let protocol = Protocol::from(args.benchmark);
    let questions = Questions::read(protocol, &args.questions, args.limit)?;
    let prompts = read_prompts(args.judge.judge_prompts.as_deref())?;
    let baseline = baseline(args, protocol, &questions)?;
    // What is wrong with the judge's options should not cost a minute either.
    let endpoint = endpoint(&args.judge)?;
    let subjects = answerers(args, protocol)?;
    let mut answered = Vec::with_capacity(subjects.len());
    for subject in &subjects {
        answered.push(subject.answers(args, protocol, &questions, device)?);
    }
    let bench = Judging {
        args,
        protocol,
        questions: &questions,
        prompts: &prompts,
        baseline: baseline.as_deref(),
    };
    let reports = match endpoint {
        Some(judge) => bench.reports(&judge, &subjects, &answered)?,
        None => {
            let path = Path::new(&args.judge.judge);
            let loaded = load_path::<InnerBackend>(path, device)?;
            let judge = LocalJudge {
                name: format!("{}@{}", path.display(), &loaded.sha256[..12]),
                model: &loaded.model,
                tokenizer: required_tokenizer(loaded.tokenizer.as_ref(), path)?,
                reply_tokens: args.judge.judge_tokens,
                rows: args.answering.batch,
            };
            bench.reports(&judge, &subjects, &answered)?
        }
    };
    let mut stdout = std::io::stdout().lock();
    match args.json {
        true => writeln!(stdout, "{}", serde_json::to_string_pretty(&reports)?)?,
        false => write!(stdout, "{}", text(&reports))?,
    }
    Ok(Outcome::Done)
}

/// The answers to compare with, if any are.
fn baseline(
    args: &ChatArgs,
    protocol: Protocol,
    questions: &Questions,
) -> anyhow::Result<Option<Vec<ChatAnswer>>> {
    let (answers, source) = match (&args.baseline, protocol) {
        (Some(path), _) => (read_answers(protocol, path)?, path),
        (None, Protocol::MtBench) => return Ok(None),
        (None, Protocol::AlpacaEval) => {
            ensure!(!questions.outputs.is_empty(), DistillError::NoBaseline);
            (questions.outputs.clone(), &args.questions)
        }
    };
    aligned(protocol, &questions.items, &answers, source).map(Some)
}

/// The judge behind an endpoint; none where `--judge` is a local model.
fn endpoint(args: &JudgeArgs) -> anyhow::Result<Option<Endpoint>> {
    if !["http://", "https://"]
        .iter()
        .any(|scheme| args.judge.starts_with(scheme))
    {
        return Ok(None);
    }
    let url = args.judge.clone();
    let model = args
        .judge_model
        .clone()
        .ok_or_else(|| DistillError::NoJudgeModel { url: url.clone() })?;
    let key = match &args.judge_key_env {
        Some(name) => Some(key_from_env(name, "--judge-key-env")?),
        None => None,
    };
    let options = EndpointOptions {
        url,
        model,
        key,
        timeout: Duration::from_secs(args.judge_timeout as u64),
        retries: args.judge_retries,
        parallel: args.parallel,
        reply_tokens: args.judge_tokens,
        logprobs: !args.no_logprobs,
    };
    Ok(Some(Endpoint::new(options)?))
}

/// Everything that judging depends on beside the answers.
struct Judging<'a> {
    args: &'a ChatArgs,
    protocol: Protocol,
    questions: &'a Questions,
    prompts: &'a JudgePrompts,
    baseline: Option<&'a [ChatAnswer]>,
}

/// What a judge said of one model.
struct Judgments {
    asks: Vec<Ask>,
    said: Vec<Said>,
}

impl Judging<'_> {
    fn mode(&self) -> Mode {
        match self.baseline {
            Some(_) => Mode::Pairwise,
            None => Mode::Rating,
        }
    }

    /// What there is to say of every model, written into its folder.
    fn reports(
        &self,
        judge: &dyn Judge,
        subjects: &[Answerer],
        answered: &[Vec<Answered>],
    ) -> anyhow::Result<Vec<ChatReport>> {
        let mut heard = Vec::with_capacity(subjects.len());
        for (subject, answered) in subjects.iter().zip(answered) {
            heard.push(self.hear(judge, subject, answered)?);
        }
        let values: Vec<Vec<Option<f64>>> = heard
            .iter()
            .map(|one| {
                let both = one.asks.iter().zip(&one.said);
                both.map(|(ask, said)| ask.kind.value(ask.order, said))
                    .collect()
            })
            .collect();
        let judged: Vec<_> = heard
            .iter()
            .zip(&values)
            .map(|(one, values)| combine(&one.asks, values))
            .collect();
        let all: Vec<Verdicts> = (0..subjects.len())
            .map(|index| Verdicts {
                questions: self.questions,
                answered: &answered[index],
                baseline: self.baseline,
                said: &heard[index].said,
                values: &values[index],
                judged: &judged[index],
            })
            .collect();
        // Several models against one baseline say how difficult the instructions are.
        let comparisons: Vec<_> = all.iter().map(|one| one.comparisons(None)).collect();
        let difficulties = match self.protocol {
            Protocol::AlpacaEval => difficulties(&comparisons, self.questions.items.len()),
            Protocol::MtBench => None,
        };
        let mut reports = Vec::with_capacity(all.len());
        for (one, subject) in all.iter().zip(subjects) {
            let named = Named {
                prompt_sha256: self.prompts.sha256(),
                judge: JudgeName::of(judge),
                mode: self.mode(),
                model: subject.name.clone(),
            };
            let report = one.report(named, difficulties.as_deref());
            let name = self.mode().name();
            write(
                &subject.folder.join(format!("{name}.json")),
                &serde_json::to_string_pretty(&report)?,
            )?;
            write(
                &subject.folder.join(format!("{name}.md")),
                &markdown(std::slice::from_ref(&report)),
            )?;
            reports.push(report);
        }
        Ok(reports)
    }

    fn hear(
        &self,
        judge: &dyn Judge,
        subject: &Answerer,
        answered: &[Answered],
    ) -> anyhow::Result<Judgments> {
        let questions = &self.questions.items;
        let mut asks = Vec::new();
        for (index, (question, one)) in questions.iter().zip(answered).enumerate() {
            asks.extend(match self.baseline {
                None => single_asks(self.prompts, index, question, &one.answer),
                Some(baseline) => {
                    let pair = [&one.answer, &baseline[index]];
                    pairwise_asks(self.protocol, self.prompts, index, question, pair)
                }
            });
        }
        let (mut kept, mut lines) = KeptLines::open(&subject.folder.join(JUDGMENTS))?;
        if self.args.judge.rejudge {
            lines.clear();
        }
        let of = |ask: &Ask| -> Value {
            let baseline = self.baseline.map(|baseline| &baseline[ask.question].model);
            json!({ "question_id": questions[ask.question].id, "model": subject.name, "baseline": baseline })
        };
        let bar = progress_bar(asks.len() as u64);
        let said = hear_all(judge, &asks, (&mut kept, &lines), of, |done| {
            bar.set_position(done as u64)
        })?;
        bar.finish_and_clear();
        Ok(Judgments { asks, said })
    }
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("could not create `{}`", folder.display()))?;
    }
    model::files::write(path, format!("{}\n", text.trim_end()).as_bytes())?;
    Ok(())
}
