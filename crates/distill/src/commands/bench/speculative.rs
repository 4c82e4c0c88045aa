//! `bench speculative`: speculative decoding beside plain decoding of the same model, in one run (method 5.5).

use std::io::{self, IsTerminal, Write};

use eval::report::{Cell, Table};
use eval::speculative::{
    Agreement, PlainSpeed, SpeculativeOptions, SpeculativeSpeed, agreement, plain, replay_ms,
    speculative,
};
use model::load::LoadedModel;
use model::{ChatTemplate, Message, Sampling, decode_state_bytes};

use crate::backend::{self, Device, InnerBackend};
use crate::builtin::{Held, load_held_in};
use crate::cli::{DraftTokensArg, SpeculativeArgs};
use crate::commands::{Outcome, drafter};
use crate::data::prompts::is_for_measuring;
use crate::data::{PromptKind, Prompts};
use crate::recipe::Precision;

/// Passes timed to find what a replay takes.
const REPLAY_ROUNDS: usize = 20;

/// Prints a Markdown table or JSON on stdout.
///
/// # Errors
/// An unreadable model or drafter, a drafter with another tokenizer, a closed stdout.
pub(super) fn run(args: &SpeculativeArgs, device: &Device) -> anyhow::Result<Outcome> {
    let precision = Precision::from(args.precision);
    let loaded = load_held_in::<InnerBackend>(&args.model, Held::In(precision), device)?;
    let model = &loaded.model;
    let mut table = table();
    let mut agreed = Agreement::default();
    let Questions {
        prompts,
        mut stop_tokens,
    } = questions(&loaded, args.prompts, args.seed)?;
    if args.ignore_stop {
        stop_tokens.clear();
    }
    for &batch in &args.batch {
        for &temperature in &args.temperature {
            let options = SpeculativeOptions {
                prompts: prompts.clone(),
                batch,
                sampling: Sampling::with_temperature(args.tokens, temperature, args.seed)
                    .stop_at(stop_tokens.clone()),
                rounds: args.rounds,
            };
            let base = plain(model, &options)?;
            push_plain(&mut table, args, batch, temperature, &base);
            for name in &args.drafters {
                for &draft_tokens in &args.draft_tokens {
                    show_progress(&format!(
                        "batch {batch}, T {temperature}, {name}, {draft_tokens}"
                    ));
                    let mut drafter = drafter::build(name, &loaded, device)?;
                    let draft_len = drafter::draft_len(draft_tokens);
                    let found = speculative(model, drafter.as_mut(), draft_len, &options)?;
                    let same = (temperature == 0.0)
                        .then(|| agreement(model, &prompts, &base.replies, &found.replies));
                    if let Some(same) = same {
                        agreed.compared += same.compared;
                        agreed.differing += same.differing;
                        agreed.largest_gap = agreed.largest_gap.max(same.largest_gap);
                    }
                    let replay = match draft_tokens {
                        DraftTokensArg::Fixed(count) => {
                            Some(replay_ms(model, batch, count, REPLAY_ROUNDS))
                        }
                        DraftTokensArg::Auto => None,
                    };
                    let row = Row {
                        drafter: name.to_string(),
                        batch,
                        temperature,
                        draft_tokens,
                        same,
                        replay,
                    };
                    push(&mut table, row, &found);
                }
            }
        }
    }
    let llama = &model.config().llama;
    let (attention, n_layers) = (model.config().attn_layers.len(), llama.n_layers);
    let plain_bytes = decode_state_bytes(model.config(), args.tokens);
    let mut out = io::stdout().lock();
    if args.json {
        let report = serde_json::json!({
            "backend": backend::NAME,
            "device": format!("{device:?}"),
            "model": args.model,
            "attention_layers": attention,
            "layers": n_layers,
            "prompts": args.prompts,
            "tokens": args.tokens,
            "precision": precision,
            "plain_state_bytes": plain_bytes,
            "agreement": agreed,
            "rows": table.to_json(),
        });
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
        return Ok(Outcome::Done);
    }
    writeln!(
        out,
        "{} {device:?}: `{}`, attention in {attention} of {n_layers} layers, {} prompts, replies of up to {} tokens, {}",
        backend::NAME,
        args.model.display(),
        args.prompts,
        args.tokens,
        precision.name()
    )?;
    writeln!(
        out,
        "greedy: {} tokens compared with plain decoding, {} replies differ, gap of logits {:.1e} at most",
        agreed.compared, agreed.differing, agreed.largest_gap
    )?;
    writeln!(
        out,
        "times of the parts of a round are of a run that waits between them; replay is inside verify\n"
    )?;
    write!(out, "{}", table.to_markdown())?;
    Ok(Outcome::Done)
}

fn table() -> Table {
    Table::new()
        .text_column("drafter", "drafter")
        .number_column("batch", "batch")
        .number_column("temperature", "T")
        .text_column("draft_tokens", "K")
        .number_column("tokens_per_s", "tokens/s")
        .number_column("speedup", "speedup")
        .number_column("end_to_end_speedup", "with prefill")
        .number_column("tokens_per_round", "tokens/round")
        .number_column("acceptance", "accepted")
        .number_column("draft_ms", "draft ms")
        .number_column("verify_ms", "verify ms")
        .number_column("replay_ms", "replay ms")
        .number_column("accept_ms", "accept ms")
        .number_column("host_ms", "host ms")
        .number_column("plain_share", "plain rounds")
        .number_column("state_bytes", "state")
        .number_column("drafter_bytes", "drafter state")
        .text_column("agrees", "as plain")
}

/// What a row is about.
struct Row {
    drafter: String,
    batch: usize,
    temperature: f32,
    draft_tokens: DraftTokensArg,
    same: Option<Agreement>,
    replay: Option<[f64; 2]>,
}

fn push_plain(
    table: &mut Table,
    args: &SpeculativeArgs,
    batch: usize,
    temperature: f32,
    base: &PlainSpeed,
) {
    let step_ms = batch as f64 * 1e3 / base.tokens_per_s;
    let mut cells = vec![
        Cell::text("none"),
        Cell::count(batch),
        Cell::number(f64::from(temperature), 1),
        Cell::text("-"),
        Cell::number(base.tokens_per_s, 1),
        Cell::number(1.0, 2),
        Cell::number(1.0, 2),
        Cell::number(1.0, 2),
        Cell::missing(),
        Cell::missing(),
        Cell::number(step_ms, 3),
    ];
    cells.extend((0..3).map(|_| Cell::missing()));
    cells.push(Cell::number(1.0, 2));
    cells.extend((0..2).map(|_| Cell::missing()));
    cells.push(Cell::text(format!("{} tokens", args.tokens)));
    table.push(cells);
}

fn push(table: &mut Table, row: Row, found: &SpeculativeSpeed) {
    let (report, parts) = (&found.report, &found.parts);
    let of_round = |ms: f64| Cell::number(ms / parts.rounds.max(1) as f64, 3);
    let all = report.rounds + report.plain_rounds;
    let agrees = match row.same {
        None => "-".to_owned(),
        Some(same) if same.differing == 0 => "yes".to_owned(),
        Some(same) => format!("{} differ, gap {:.1e}", same.differing, same.largest_gap),
    };
    table.push([
        Cell::text(row.drafter),
        Cell::count(row.batch),
        Cell::number(f64::from(row.temperature), 1),
        Cell::text(row.draft_tokens.to_string()),
        Cell::number(found.tokens_per_s, 1),
        Cell::number(found.speedup, 2),
        Cell::number(found.end_to_end_speedup, 2),
        Cell::number(report.tokens_per_round(), 2),
        Cell::percent(report.acceptance()),
        of_round(parts.draft_ms),
        of_round(parts.verify_ms),
        Cell::from(
            row.replay
                .map(|[kept, replayed]| Cell::number(replayed - kept, 3)),
        ),
        of_round(parts.accept_ms),
        of_round(parts.host_ms),
        Cell::number(report.plain_rounds as f64 / all.max(1) as f64, 2),
        Cell::bytes(report.state_bytes),
        Cell::bytes(report.drafter_bytes),
        Cell::text(agrees),
    ]);
}

/// What is asked, and what ends the replies.
pub(in crate::commands) struct Questions {
    pub(in crate::commands) prompts: Vec<Vec<u32>>,
    pub(in crate::commands) stop_tokens: Vec<u32>,
}

/// Seeded questions, of those kept for measuring, as a chat, or as they are for models without a template; any ids without a tokenizer.
pub(in crate::commands) fn questions(
    loaded: &LoadedModel<InnerBackend>,
    count: usize,
    seed: u64,
) -> anyhow::Result<Questions> {
    let config = &loaded.model.config().llama;
    let Some(tokenizer) = &loaded.tokenizer else {
        let id = |row: usize, at: usize| ((row * 131 + at * 7919 + 13) % config.vocab_size) as u32;
        let row = |row| (0..24 + 8 * row).map(|at| id(row, at)).collect();
        return Ok(Questions {
            prompts: (0..count).map(row).collect(),
            stop_tokens: config.eos_token_ids.clone(),
        });
    };
    let template = ChatTemplate::detect(tokenizer);
    let texts = Prompts::new(PromptKind::All, seed).filter(|text| is_for_measuring(text));
    let encoded = texts.take(count).map(|text| match &template {
        Some(template) => Ok(template
            .encode_chat(tokenizer, &[Message::user(text)], true)?
            .ids),
        None => Ok(tokenizer.encode(&text)),
    });
    Ok(Questions {
        prompts: encoded.collect::<anyhow::Result<_>>()?,
        stop_tokens: match &template {
            Some(template) => template.stop_tokens(config, tokenizer)?,
            None => config.eos_token_ids.clone(),
        },
    })
}

#[expect(clippy::print_stderr, reason = "progress of a command")]
fn show_progress(what: &str) {
    if io::stderr().is_terminal() {
        eprintln!("{what}");
    }
}
