//! `convert`: a hybrid from a teacher or a denser hybrid, without training.
use anyhow::Context;
use model::load::{self, CheckpointMeta, SavePrecision};
use model::{GqaRepeat, InitFrom, LayerPlan, Layout, MixerKind, SsmConfig};

use crate::backend::{Device, InnerBackend};
use crate::builtin::load_path;
use crate::cli::{ConvertArgs, GqaRepeatArg, InitArg, LayoutArg};
use crate::commands::Outcome;
use crate::error::DistillError;

/// Writes a checkpoint folder; stdout gets nothing.
///
/// # Errors
/// An unreadable model, a ratio the layers do not allow, a folder that exists or cannot be written.
pub fn run(args: ConvertArgs, device: &Device) -> anyhow::Result<Outcome> {
    if args.out.exists() {
        return Err(DistillError::OutputExists { path: args.out }.into());
    }
    let loaded = load_path::<InnerBackend>(&args.model, device)?;
    let teacher = loaded.model;
    let layout = match args.layout {
        LayoutArg::Interleaved => Layout::Interleaved,
        LayoutArg::KeptFirst => Layout::KeptFirst,
        LayoutArg::KeptLast => Layout::KeptLast,
        LayoutArg::KeptMiddle => Layout::KeptMiddle,
        LayoutArg::KeptEnds => Layout::KeptEnds,
    };
    let plan = LayerPlan::for_ratio(teacher.n_layers(), args.attention_ratio, layout)?;
    let kind = MixerKind::from(args.mixer);
    let init = match args.init {
        InitArg::Attention => InitFrom::Attention,
        InitArg::RandomMixer => InitFrom::RandomMixer,
        InitArg::RandomLayer => InitFrom::RandomLayer,
        InitArg::ZeroOutput => InitFrom::ZeroOutput,
    };
    let ssm = SsmConfig {
        gqa_repeat: match args.gqa_repeat {
            GqaRepeatArg::ChunkN => GqaRepeat::ChunkN,
            GqaRepeatArg::Head => GqaRepeat::Head,
        },
        dt_bias_multiplicity: args.dt_bias_multiplicity,
        ..SsmConfig::published(kind, &teacher.config().llama)
    };
    let student = teacher.convert(&ssm, &plan, init, args.seed)?;
    let meta = CheckpointMeta {
        parent_sha256: Some(loaded.sha256),
        ..CheckpointMeta::default()
    };
    let precision = if args.bf16 {
        SavePrecision::Bf16
    } else {
        SavePrecision::F32
    };
    load::save(
        &student,
        loaded.tokenizer.as_ref(),
        &args.out,
        &meta,
        precision,
    )
    .with_context(|| format!("could not write checkpoint `{}`", args.out.display()))?;
    Ok(Outcome::Done)
}
