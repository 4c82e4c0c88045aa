//! Values that arguments choose among.
use clap::ValueEnum;

use crate::builtin::Held;
use crate::recipe::{MixerKind, Precision};

/// Mixer that replaces attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MixerArg {
    /// Selective scan
    Mamba1,
    /// State-space duality
    Mamba2,
}

impl From<MixerArg> for MixerKind {
    fn from(arg: MixerArg) -> Self {
        match arg {
            MixerArg::Mamba1 => Self::Mamba1,
            MixerArg::Mamba2 => Self::Mamba2,
        }
    }
}

/// Where the weights of a new mixer come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum InitArg {
    /// From the attention weights it replaces
    Attention,
    /// At random, the rest of the layer kept
    RandomMixer,
    /// At random, with the whole layer
    RandomLayer,
    /// From attention, with an output projection of zeros: the layer starts without a mixer
    ZeroOutput,
}

/// Which layers keep attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LayoutArg {
    /// Evenly spread
    Interleaved,
    /// The first layers
    KeptFirst,
    /// The last layers
    KeptLast,
    /// The middle layers
    KeptMiddle,
    /// Half of them the first layers, half the last
    KeptEnds,
}

/// How KV heads are repeated for the query heads of their group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GqaRepeatArg {
    /// In chunks of the state size, as the published code does
    ChunkN,
    /// Whole heads, as attention does
    Head,
}

/// How conversations are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TemplateArg {
    /// The one whose control tokens the tokenizer has
    Detect,
    /// `<|im_start|>`, `<|im_end|>`
    ChatMl,
    /// `<|start_header_id|>`, `<|eot_id|>`
    Llama3,
    /// `<|user|>`, `</s>`
    Zephyr,
}

/// What weights of projections are held in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum QuantizeArg {
    /// Whole numbers of 8 bits, and a scale each 32
    Int8,
}

/// What models compute in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PrecisionArg {
    /// 32 bits
    F32,
    /// bfloat16
    Bf16,
}

impl From<PrecisionArg> for Precision {
    fn from(arg: PrecisionArg) -> Self {
        match arg {
            PrecisionArg::F32 => Self::F32,
            PrecisionArg::Bf16 => Self::Bf16,
        }
    }
}

/// What `--precision` or, if it is given, `--quantize` means.
pub fn held(precision: PrecisionArg, quantize: Option<QuantizeArg>) -> Held {
    match quantize {
        Some(QuantizeArg::Int8) => Held::Int8,
        None => Held::In(precision.into()),
    }
}
