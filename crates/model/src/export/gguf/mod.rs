//! A model as one GGUF file that llama.cpp runs.

mod granite_hybrid;
mod llama;
mod tokenizer;
mod writer;

use std::path::Path;

use kernels::SsmBackend;

use super::end_tokens;
use crate::chat_template::ChatTemplate;
use crate::config::{HybridConfig, MixerKind};
use crate::error::ModelError;
use crate::hybrid::HybridModel;
use crate::load::SavePrecision;
use crate::tokenizer::Tokenizer;
use writer::GgufWriter;

/// Writes `model` to the file `path`: with attention alone as architecture `llama`, with Mamba2 in some layers as `granitehybrid`, whose
/// blocks compute the same. Matrices are in `precision`, everything else in f32. Whole or not at all.
///
/// # Errors
/// [`ModelError::File`] with the path; [`ModelError::Config`] for a model that no GGUF architecture stands for (Mamba1) and for a
/// number that `precision` cannot hold; [`ModelError::Tokenizer`] for a tokenizer that GGUF has no name for.
pub fn export_gguf<B: SsmBackend>(
    model: &HybridModel<B>,
    tokenizer: Option<&Tokenizer>,
    template: Option<&ChatTemplate>,
    name: &str,
    path: &Path,
    precision: SavePrecision,
) -> Result<(), ModelError> {
    let config = model.config();
    let architecture = architecture(config)?;
    let mut file = GgufWriter::new(precision);
    file.text("general.architecture", architecture);
    file.text("general.name", name);
    let file_type = match precision {
        SavePrecision::F32 => 0,
        SavePrecision::F16 => 1,
        SavePrecision::Bf16 => 32,
    };
    file.u32("general.file_type", file_type);
    llama::metadata(&mut file, architecture, config);
    if let Some(ssm) = config.used_ssm() {
        granite_hybrid::metadata(&mut file, architecture, config, ssm)?;
    }
    if let Some(tokenizer) = tokenizer {
        tokenizer::metadata(&mut file, tokenizer, config)?;
        let ends = end_tokens(config, template, Some(tokenizer))?;
        tokenizer::control_tokens(&mut file, config.llama.bos_token_id, &ends);
        if let Some(template) = template {
            file.text("tokenizer.chat_template", &template.jinja_source());
        }
    }
    for (key, data) in model.named_tensors() {
        let shape = data.shape.to_vec();
        let values = data.into_vec::<f32>().expect("named tensors are f32");
        match (key.split_once(".mamba."), config.used_ssm()) {
            (Some((layer, tensor)), Some(ssm)) => {
                let place = format!("blk.{}", layer_idx(layer));
                granite_hybrid::tensor(&mut file, &place, tensor, &values, config, ssm)?;
            }
            _ => llama::tensor(&mut file, &key, shape, values, &config.llama)?,
        }
    }
    llama::rope_factors(&mut file, &config.llama)?;
    file.write(path)
}

/// The architecture that computes what `config` says.
fn architecture(config: &HybridConfig) -> Result<&'static str, ModelError> {
    match config.used_ssm().map(|ssm| ssm.mixer) {
        None | Some(MixerKind::Attention) => Ok("llama"),
        Some(MixerKind::Mamba2) => Ok("granitehybrid"),
        Some(MixerKind::Mamba1) => {
            let expected = "attention or mamba2: no GGUF architecture has Mamba1 layers whose B, C and step sizes come from \
                            the layer's input (export with `--format hf`)";
            Err(ModelError::config(
                "model to export as GGUF",
                "mixer",
                "mamba1",
                expected,
            ))
        }
    }
}

fn layer_idx(layer: &str) -> &str {
    layer.strip_prefix("model.layers.").unwrap_or(layer)
}
