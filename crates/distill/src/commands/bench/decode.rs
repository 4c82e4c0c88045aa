//! `bench decode`: plain decoding at batch 1, and how far from the time that reading the weights takes.

use std::io::{self, Write};

use eval::report::{Cell, Table};
use eval::speed::{self, SpeedOptions};
use model::{HybridConfig, HybridModel, InitFrom, LayerPlan, Layout, SsmConfig};

use super::copy_gigabytes_per_s;
use super::step::smollm2_135m;
use crate::backend::{self, Device, InnerBackend};
use crate::builtin::load_path;
use crate::cli::{DecodeArgs, MixerArg};
use crate::commands::Outcome;
use crate::recipe::Precision;

/// Prints a table of speeds on stdout.
///
/// # Errors
/// An unreadable teacher, a ratio its layers do not allow, a closed stdout.
pub(super) fn run(args: &DecodeArgs, device: &Device) -> anyhow::Result<Outcome> {
    let teacher = match &args.teacher {
        Some(path) => load_path::<InnerBackend>(path, device)?.model,
        None => HybridModel::init(&HybridConfig::teacher(smollm2_135m()), device),
    };
    let copy = copy_gigabytes_per_s();
    let options = SpeedOptions {
        prompt_tokens: args.prompt_tokens,
        decode_tokens: args.tokens,
        rounds: args.rounds,
    };
    let mut table = Table::new()
        .text_column("mixer", "mixer")
        .number_column("attention_ratio", "attention")
        .text_column("precision", "precision")
        .number_column("tokens_per_s", "tokens/s")
        .number_column("token_ms", "token ms")
        .number_column("queue_ms", "queue ms")
        .number_column("floor_ms", "floor ms")
        .number_column("of_floor", "over floor");
    for (mixer, ratio) in models(args) {
        let (name, model) = match mixer {
            None => ("-".to_owned(), teacher.clone()),
            Some(mixer) => {
                let layers = LayerPlan::for_ratio(teacher.n_layers(), ratio, Layout::Interleaved)?;
                let ssm = SsmConfig::published(mixer.into(), &teacher.config().llama);
                let model = teacher.convert(&ssm, &layers, InitFrom::Attention, 0)?;
                (format!("{mixer:?}").to_lowercase(), model)
            }
        };
        for precision in args.precision.iter().map(|&arg| Precision::from(arg)) {
            let model = match precision.compute() {
                Some(dtype) => model.clone().with_projections_in(dtype),
                None => model.clone(),
            }
            .with_weights_apart();
            let found = speed::measure(&model, options)?;
            let queue_ms = speed::queue_ms(&model, options);
            let token_ms = 1e3 / found.decode_tokens_per_s;
            let floor_ms = model.bytes_per_token() as f64 / copy / 1e6;
            table.push([
                Cell::text(name.as_str()),
                Cell::percent(ratio),
                Cell::text(precision.name()),
                Cell::number(found.decode_tokens_per_s, 1),
                Cell::number(token_ms, 3),
                Cell::number(queue_ms, 3),
                Cell::number(floor_ms, 3),
                Cell::number(token_ms / floor_ms, 1),
            ]);
        }
    }
    let mut out = io::stdout().lock();
    if args.json {
        let report = serde_json::json!({
            "backend": backend::NAME,
            "device": format!("{device:?}"),
            "copy_gb_s": copy,
            "prompt_tokens": args.prompt_tokens,
            "tokens": args.tokens,
            "rows": table.to_json(),
        });
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
        return Ok(Outcome::Done);
    }
    writeln!(out, "{} {device:?}: copies {copy:.1} GB/s", backend::NAME)?;
    writeln!(
        out,
        "batch 1, {} tokens after {}; queue: what the host takes for a token; floor: what reading the weights takes\n",
        args.tokens, args.prompt_tokens
    )?;
    write!(out, "{}", table.to_markdown())?;
    Ok(Outcome::Done)
}

/// Each mixer at each ratio; with all attention kept there is no mixer.
fn models(args: &DecodeArgs) -> Vec<(Option<MixerArg>, f64)> {
    let mut models = Vec::new();
    for &ratio in &args.ratio {
        if ratio == 1.0 {
            models.push((None, ratio));
            continue;
        }
        models.extend(args.mixer.iter().map(|mixer| (Some(*mixer), ratio)));
    }
    models
}
