//! `export`: a model in the formats of others.
use std::path::Path;

use anyhow::Context;
use model::MixerKind;
use model::export::{FolderExport, export_folder, export_gguf};
use model::load::{LoadedModel, SavePrecision, SourceFormat};

use crate::backend::{Device, InnerBackend};
use crate::builtin::{load_path, local_path};
use crate::cli::{DtypeArg, ExportArgs, FormatArg};
use crate::commands::{Outcome, template};
use crate::error::DistillError;

/// Files of a model folder that are worth more than what can be made here.
const KEPT: [&str; 3] = [
    "tokenizer_config.json",
    "generation_config.json",
    "special_tokens_map.json",
];

/// Writes the folder or file; stdout gets nothing.
///
/// # Errors
/// An unreadable model or card, a place that exists or cannot be written, a model that the format has no place for.
#[expect(clippy::print_stderr, reason = "a note about the result")]
pub fn run(args: ExportArgs, device: &Device) -> anyhow::Result<Outcome> {
    if args.out.exists() {
        return Err(DistillError::OutputExists { path: args.out }.into());
    }
    let card = args.card.as_ref().map(|path| {
        std::fs::read(path)
            .with_context(|| format!("could not read the model card `{}`", path.display()))
    });
    let card = card.transpose()?;
    let loaded = load_path::<InnerBackend>(&args.model, device)?;
    let precision = match args.dtype {
        DtypeArg::F32 => SavePrecision::F32,
        DtypeArg::Bf16 => SavePrecision::Bf16,
        DtypeArg::F16 => SavePrecision::F16,
    };
    let template = template::of_model(&args.model, loaded.tokenizer.as_ref())?;
    let name = name(&args.out);
    match args.format {
        FormatArg::Gguf => export_gguf(
            &loaded.model,
            loaded.tokenizer.as_ref(),
            template.as_ref(),
            &name,
            &args.out,
            precision,
        ),
        FormatArg::Hf => {
            let meta = loaded.meta.clone().unwrap_or_default();
            let mut files = kept_files(&local_path(&args.model)?)?;
            let card = card.unwrap_or_else(|| model_card(&name, &loaded, &args).into_bytes());
            files.push(("README.md".into(), card));
            let export = FolderExport {
                tokenizer: loaded.tokenizer.as_ref(),
                template: template.as_ref(),
                meta: &meta,
                base_model: args.base_model.as_deref(),
                files,
                precision,
                shard_bytes: args.shard_size,
            };
            export_folder(&loaded.model, &args.out, export)
        }
    }
    .with_context(|| format!("could not export to `{}`", args.out.display()))?;
    let is_hybrid = loaded.model.config().used_ssm().is_some();
    if args.format == FormatArg::Hf && is_hybrid && args.base_model.is_none() {
        eprintln!(
            "the published code builds a hybrid from its Transformer: name it with `--base-model`"
        );
    }
    Ok(Outcome::Done)
}

/// What lies beside the weights and can go along as it is.
fn kept_files(folder: &Path) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for name in KEPT {
        let path = folder.join(name);
        if path.is_file() {
            let bytes = std::fs::read(&path);
            let bytes = bytes.with_context(|| format!("could not read `{}`", path.display()))?;
            files.push((name.into(), bytes));
        }
    }
    Ok(files)
}

/// The name of a model by the place it is written to.
fn name(out: &Path) -> String {
    let stem = match out.extension().is_some_and(|name| name == "gguf") {
        true => out.file_stem(),
        false => out.file_name(),
    };
    stem.unwrap_or_default().to_string_lossy().into_owned()
}

/// A card that says what the model is and how to run it.
fn model_card(name: &str, loaded: &LoadedModel<InnerBackend>, args: &ExportArgs) -> String {
    let config = loaded.model.config();
    let llama = &config.llama;
    let mut head = String::from("---\npipeline_tag: text-generation\n");
    if let Some(base) = &args.base_model {
        head += &format!("base_model: \"{base}\"\n");
    }
    let mut tags = vec!["llama"];
    let mut text = match config.used_ssm() {
        None => format!("A Llama-family Transformer of {} layers.\n", llama.n_layers),
        Some(ssm) => {
            let mixer = match ssm.mixer {
                MixerKind::Mamba1 => "mamba",
                _ => "mamba2",
            };
            tags = vec![mixer, "hybrid", "distillation"];
            format!(
                "A hybrid of {} layers: layers {:?} keep attention, the others are {mixer} layers that started from the \
                 attention's own weights (*The Mamba in the Llama*, arXiv 2408.15237). Names, shapes and flags are those of the \
                 published hybrids.\n",
                llama.n_layers, config.attn_layers
            )
        }
    };
    head += &format!("tags:\n- {}\n---\n\n# {name}\n\n", tags.join("\n- "));
    text += "\n## Use\n\n```sh\ndistill chat --model PATH\n```\n";
    if config.used_ssm().is_some() && args.base_model.is_some() {
        let package = if tags[0] == "mamba2" {
            "mamba2_inference"
        } else {
            "mamba_inference"
        };
        text += &format!(
            "\nWith the paper's code:\n\n```python\nfrom {package}.hybrid_wrapper import MambaTransformerHybridModelWrapper\n\
             model = MambaTransformerHybridModelWrapper.from_pretrained(\"PATH\")\n```\n"
        );
    }
    text += "\n## Origin\n\n";
    if loaded.format != SourceFormat::Gguf {
        text += &format!(
            "- weights it was exported from, SHA-256: `{}`\n",
            loaded.sha256
        );
    }
    let meta = loaded.meta.clone().unwrap_or_default();
    for (what, value) in [
        ("stage", meta.stage),
        ("optimiser steps", meta.step.map(|step| step.to_string())),
        ("SHA-256 of its parent", meta.parent_sha256),
        ("SHA-256 of its teacher", meta.teacher_sha256),
        ("fingerprint of the training data", meta.data_fingerprint),
    ] {
        if let Some(value) = value {
            text += &format!("- {what}: `{value}`\n");
        }
    }
    head + &text
        + "\n## Limits\n\nNothing here was measured for safety: a student is no safer than its teacher.\n"
}
