//! Turns attention layers of a model into Mamba2 layers and writes the hybrid, untrained: `convert MODEL ATTENTION_RATIO OUT`.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::path::Path;

use burn::backend::Flex;
use model::load::{CheckpointMeta, SavePrecision, save};
use model::{InitFrom, LayerPlan, MixerKind, SsmConfig};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, ratio, out] = &arguments[..] else {
        return Err("usage: convert MODEL ATTENTION_RATIO OUT".into());
    };
    let teacher = model::load::<Flex>(path, &Default::default())?;
    let plan = LayerPlan::uniform(teacher.model.n_layers(), ratio.parse()?)?;
    let mixer = SsmConfig::published(MixerKind::Mamba2, &teacher.model.config().llama);
    // Q becomes C, K becomes B, V becomes x, O the output projection.
    let hybrid = teacher
        .model
        .convert(&mixer, &plan, InitFrom::Attention, 42)?;
    let meta = CheckpointMeta {
        parent_sha256: Some(teacher.sha256),
        ..CheckpointMeta::default()
    };
    let tokenizer = teacher.tokenizer.as_ref();
    save(
        &hybrid,
        tokenizer,
        Path::new(out),
        &meta,
        SavePrecision::F32,
    )?;
    println!(
        "attention is left in layers {:?}",
        hybrid.config().attn_layers
    );
    Ok(())
}
