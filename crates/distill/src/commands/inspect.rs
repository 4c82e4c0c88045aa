//! `inspect`: what a model, a checkpoint or a GGUF file holds.
use std::collections::BTreeMap;
use std::io::Write;

use eval::report::{Cell, Table};
use eval::speed::STATE_CONTEXT;
use model::{HybridConfig, MixerKind, decode_state_bytes};
use serde_json::json;

use crate::backend::{Device, InnerBackend};
use crate::builtin::load_path;
use crate::cli::InspectArgs;
use crate::commands::Outcome;
use crate::recipe::mixer_name;

/// Name, shape and number of entries that are not finite.
struct TensorRow {
    name: String,
    shape: Vec<usize>,
    non_finite: usize,
}

impl TensorRow {
    fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Prints the description on stdout.
///
/// # Errors
/// An unreadable model.
pub fn run(args: InspectArgs, device: &Device) -> anyhow::Result<Outcome> {
    let loaded = load_path::<InnerBackend>(&args.model, device)?;
    let config = loaded.model.config().clone();
    let tensors: Vec<TensorRow> = loaded
        .model
        .named_tensors()
        .into_iter()
        .map(|(name, data)| TensorRow {
            name,
            non_finite: data
                .iter::<f32>()
                .filter(|value| !value.is_finite())
                .count(),
            shape: data.shape.to_vec(),
        })
        .collect();
    let parts = parts(&tensors);
    let state_bytes = decode_state_bytes(&config, STATE_CONTEXT);
    let tokenizer_size = loaded
        .tokenizer
        .as_ref()
        .map(|tokenizer| tokenizer.vocab_size());

    let mut stdout = std::io::stdout().lock();
    if args.json {
        let mut report = json!({
            "format": loaded.format.name(),
            "sha256": loaded.sha256,
            "config": config,
            "mixers": mixers(&config).iter().map(|kind| mixer_name(*kind)).collect::<Vec<_>>(),
            "attention_ratio": config.attention_ratio(),
            "parameters": parts.values().sum::<usize>(),
            "parameters_by_part": parts,
            "state_bytes_at_4096": state_bytes,
            "tokenizer_vocab_size": tokenizer_size,
            "checkpoint": loaded.meta,
            "non_finite": tensors.iter().map(|tensor| tensor.non_finite).sum::<usize>(),
        });
        if args.tensors {
            report["tensors"] = tensor_table(&tensors).to_json();
        }
        writeln!(stdout, "{}", serde_json::to_string_pretty(&report)?)?;
        return Ok(Outcome::Done);
    }

    let llama = &config.llama;
    let mut lines = vec![
        ("format", loaded.format.name().to_owned()),
        ("sha256", loaded.sha256),
        (
            "layers",
            format!("{} ({})", llama.n_layers, mixer_summary(&config)),
        ),
        (
            "mixers",
            mixers(&config)
                .iter()
                .map(|kind| mixer_letter(*kind))
                .collect(),
        ),
        ("d_model", llama.d_model.to_string()),
        (
            "heads",
            format!(
                "{} query, {} key/value, head_dim {}",
                llama.n_heads, llama.n_kv_heads, llama.head_dim
            ),
        ),
        ("mlp", llama.intermediate_size.to_string()),
        ("context", llama.max_position_embeddings.to_string()),
        (
            "vocabulary",
            vocabulary(llama.vocab_size, llama.tie_word_embeddings, tokenizer_size),
        ),
    ];
    if let Some(ssm) = &config.ssm {
        let mut text = format!(
            "d_state {}, d_conv {}, dt_rank {}, dt_bias_multiplicity {}",
            ssm.d_state, ssm.d_conv, ssm.dt_rank, ssm.dt_bias_multiplicity
        );
        if ssm.in_proj_bias {
            text.push_str(", in_proj_bias");
        }
        lines.push(("ssm", text));
    }
    if let Some(meta) = &loaded.meta {
        lines.extend(meta.stage.clone().map(|stage| ("stage", stage)));
        lines.extend(
            meta.parent_sha256
                .clone()
                .map(|sha256| ("made from", sha256)),
        );
        lines.extend(
            meta.teacher_sha256
                .clone()
                .map(|sha256| ("teacher", sha256)),
        );
    }
    let bad: Vec<&str> = tensors
        .iter()
        .filter(|tensor| tensor.non_finite > 0)
        .map(|tensor| tensor.name.as_str())
        .collect();
    if !bad.is_empty() {
        lines.push(("NOT FINITE", bad.join(", ")));
    }
    for (name, text) in lines {
        writeln!(stdout, "{name:<11} {text}")?;
    }
    let mut table = Table::new()
        .text_column("part", "part")
        .number_column("parameters", "parameters");
    for (part, count) in &parts {
        table.push([Cell::text(*part), Cell::count(*count)]);
    }
    table.push([Cell::text("total"), Cell::count(parts.values().sum())]);
    write!(stdout, "\n{}", table.to_text())?;
    let mut table = Table::new()
        .number_column("context", "context")
        .number_column("state_bytes", "decode state");
    for context in [1024, STATE_CONTEXT, 16_384] {
        table.push([
            Cell::count(context),
            Cell::bytes(decode_state_bytes(&config, context)),
        ]);
    }
    write!(stdout, "\n{}", table.to_text())?;
    if args.tensors {
        write!(stdout, "\n{}", tensor_table(&tensors).to_text())?;
    }
    Ok(Outcome::Done)
}

fn tensor_table(tensors: &[TensorRow]) -> Table {
    let mut table = Table::new()
        .text_column("name", "tensor")
        .text_column("shape", "shape")
        .number_column("elements", "elements");
    for tensor in tensors {
        let shape: Vec<String> = tensor.shape.iter().map(usize::to_string).collect();
        let shape = format!("[{}]", shape.join(", "));
        table.push([
            Cell::text(&tensor.name),
            Cell::text(shape),
            Cell::count(tensor.elements()),
        ]);
    }
    table
}

/// Parameters by what they belong to.
fn parts(tensors: &[TensorRow]) -> BTreeMap<&'static str, usize> {
    let mut parts = BTreeMap::new();
    for tensor in tensors {
        let part = [
            ("embed_tokens", "embedding"),
            ("lm_head", "head"),
            (".mlp.", "mlp"),
            (".self_attn.", "attention"),
            (".mamba.", "mamba"),
        ]
        .into_iter()
        .find(|(mark, _)| tensor.name.contains(mark))
        .map_or("norms", |(_, part)| part);
        *parts.entry(part).or_default() += tensor.elements();
    }
    parts
}

fn mixers(config: &HybridConfig) -> Vec<MixerKind> {
    (0..config.llama.n_layers)
        .map(|layer_idx| config.mixer_kind(layer_idx))
        .collect()
}

/// One letter a layer: `A` keeps attention, `m` is Mamba1, `M` is Mamba2.
fn mixer_letter(kind: MixerKind) -> char {
    match kind {
        MixerKind::Attention => 'A',
        MixerKind::Mamba1 => 'm',
        MixerKind::Mamba2 => 'M',
    }
}

fn mixer_summary(config: &HybridConfig) -> String {
    let mixers = mixers(config);
    let mut parts = Vec::new();
    for kind in [MixerKind::Attention, MixerKind::Mamba1, MixerKind::Mamba2] {
        let count = mixers.iter().filter(|other| **other == kind).count();
        if count > 0 {
            parts.push(format!("{count} {}", mixer_name(kind)));
        }
    }
    parts.join(", ")
}

fn vocabulary(vocab_size: usize, is_tied: bool, tokenizer_size: Option<usize>) -> String {
    let head = if is_tied { "tied head" } else { "own head" };
    match tokenizer_size {
        Some(size) => format!("{vocab_size}, {head}, tokenizer of {size}"),
        None => format!("{vocab_size}, {head}, no tokenizer"),
    }
}
