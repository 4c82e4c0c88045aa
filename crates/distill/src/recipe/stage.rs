//! Recipe tables `[alignment]`, `[distillation]`, `[sft]`, `[dpo]`, and a stage as it will run.
use serde::{Deserialize, Serialize};

use super::ArmPlan;
use super::alignment::AlignmentTarget;
use super::dpo::{DpoLossKind, DpoPlan, DpoReference};
use super::loss::{DivergenceKind, KlMask, KlReduction, LossFields, LossPlan};

/// A training phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StageKind {
    /// Before stage 1: each new mixer to the output of the attention that it replaces.
    Alignment,
    /// Stage 1: the teacher's answers and distributions.
    Distillation,
    /// Stage 2: fine-tuning on replies.
    Sft,
    /// Stage 3: direct preference optimisation.
    Dpo,
}

impl StageKind {
    /// All of them, in the order in which they are run.
    pub const ALL: [Self; 4] = [Self::Alignment, Self::Distillation, Self::Sft, Self::Dpo];

    /// Name in recipes, logs and folders.
    pub fn name(self) -> &'static str {
        match self {
            Self::Alignment => "alignment",
            Self::Distillation => "distillation",
            Self::Sft => "sft",
            Self::Dpo => "dpo",
        }
    }
}

/// Tensors that a stage changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trainable {
    /// Tensors of the new mixers only.
    Mixers,
    /// Everything but the tensors of the new mixers.
    AllButMixers,
    /// Everything.
    All,
}

impl Trainable {
    /// Name in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mixers => "mixers",
            Self::AllButMixers => "all-but-mixers",
            Self::All => "all",
        }
    }

    /// Whether the tensor of this key (Hugging Face spelling) is one of them.
    pub fn includes(self, key: &str) -> bool {
        match self {
            Self::All => true,
            Self::Mixers => key.contains(".mamba."),
            Self::AllButMixers => !key.contains(".mamba."),
        }
    }
}

/// Declares a stage table: the fields every stage has, then its own. `serde(flatten)` would switch off
/// `deny_unknown_fields`, hence a macro.
macro_rules! stage_table {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// Optimiser steps; 0 skips the training and measures only.
            pub steps: Option<usize>,
            /// Sequences (DPO: pairs) of one micro-batch.
            pub batch_size: Option<usize>,
            /// Micro-batches averaged into one step.
            pub grad_accumulation: Option<usize>,
            /// Learning rate after warm-up.
            pub lr_peak: Option<f64>,
            /// Steps of linear warm-up.
            pub warmup_steps: Option<usize>,
            /// Moments of AdamW.
            pub betas: Option<[f64; 2]>,
            /// Decoupled weight decay.
            pub weight_decay: Option<f64>,
            /// Largest global gradient norm.
            pub clip_norm: Option<f64>,
            /// `mixers`, `all-but-mixers` or `all`.
            pub trainable: Option<Trainable>,
            $($(#[$field_doc])* pub $field: Option<$kind>,)*
        }

        impl $name {
            pub(super) fn shared(&self) -> SharedFields {
                SharedFields {
                    steps: self.steps,
                    batch_size: self.batch_size,
                    grad_accumulation: self.grad_accumulation,
                    lr_peak: self.lr_peak,
                    warmup_steps: self.warmup_steps,
                    betas: self.betas,
                    weight_decay: self.weight_decay,
                    clip_norm: self.clip_norm,
                    trainable: self.trainable,
                }
            }
        }
    };
}

/// The fields that all stage tables have.
pub(super) struct SharedFields {
    pub steps: Option<usize>,
    pub batch_size: Option<usize>,
    pub grad_accumulation: Option<usize>,
    pub lr_peak: Option<f64>,
    pub warmup_steps: Option<usize>,
    pub betas: Option<[f64; 2]>,
    pub weight_decay: Option<f64>,
    pub clip_norm: Option<f64>,
    pub trainable: Option<Trainable>,
}

/// Declares a stage table with cross-entropy and a divergence from the teacher.
macro_rules! loss_table {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty,)* }) => {
        stage_table! {
            $(#[$doc])*
            $name {
                /// Weight of cross-entropy on the labels (1).
                ce_weight: f64,
                /// Weight of the divergence from the teacher (1 in `[distillation]`, 0 in `[sft]`).
                kl_weight: f64,
                /// `token-mean` or `batchmean`.
                kl_reduction: KlReduction,
                /// `labels` or `all`.
                kl_mask: KlMask,
                /// `forward-kl` (default), `reverse-kl`, `jsd` or `top-k`.
                divergence: DivergenceKind,
                /// Tokens that `top-k` compares one by one (64).
                top_k: usize,
                /// The teacher's share of the mixture that `jsd` compares with (0.5).
                jsd_beta: f64,
                /// What logits are divided by in the divergence (1).
                temperature: f64,
                $($(#[$field_doc])* $field: $kind,)*
            }
        }

        impl $name {
            pub(super) fn loss(&self) -> LossFields {
                LossFields {
                    ce_weight: self.ce_weight,
                    kl_weight: self.kl_weight,
                    kl_reduction: self.kl_reduction,
                    kl_mask: self.kl_mask,
                    divergence: self.divergence,
                    top_k: self.top_k,
                    jsd_beta: self.jsd_beta,
                    temperature: self.temperature,
                }
            }
        }
    };
}

stage_table! {
    /// `[alignment]`; 0 steps (default) leave the stage out.
    AlignmentTable {
        /// `mixer-output` (default) or `hidden-state`.
        target: AlignmentTarget,
    }
}

loss_table! {
    /// `[distillation]`.
    DistillationTable {
        /// Train at 75 % attention first (method, section 4.1, row 1a).
        progressive_substep: bool,
    }
}
loss_table! {
    /// `[sft]`.
    SftTable {}
}
loss_table! {
    /// `[drafter]`: what `distill drafter` trains.
    DrafterTable {
        /// Layers of each drafter ([2, 4]).
        layers: Vec<usize>,
    }
}
stage_table! {
    /// `[dpo]`.
    DpoTable {
        /// Scale of the log-ratio (0.1; 5 for `length-normalized`).
        beta: f64,
        /// `sft-copy` or `teacher`.
        reference: DpoReference,
        /// `sigmoid` (default), `ipo`, `hinge`, `robust` or `length-normalized`.
        loss: DpoLossKind,
        /// Share of pairs taken to be the wrong way round, for `robust` (0.1).
        label_smoothing: f64,
    }
}

/// One stage at one ratio as it will run.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StagePlan {
    /// Arm of the sweep it belongs to.
    pub arm: String,
    /// Which stage.
    pub kind: StageKind,
    /// Share of layers that keep attention, as asked for.
    pub attention_ratio: f64,
    /// Optimiser steps.
    pub steps: usize,
    /// Sequences (DPO: pairs) of one micro-batch.
    pub batch_size: usize,
    /// Micro-batches averaged into one step.
    pub grad_accumulation: usize,
    /// Learning rate after warm-up.
    pub lr_peak: f64,
    /// Steps of linear warm-up.
    pub warmup_steps: usize,
    /// Moments of AdamW.
    pub betas: [f64; 2],
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Largest global gradient norm.
    pub clip_norm: f64,
    /// Tensors that are changed.
    pub trainable: Trainable,
    /// What alignment compares; other stages ignore it.
    #[serde(default)]
    pub alignment: AlignmentTarget,
    /// Loss of distillation and SFT; other stages ignore it.
    pub loss: LossPlan,
    /// Settings of DPO; other stages ignore them.
    pub dpo: DpoPlan,
    /// Seed of the order of examples, equal for stages that are compared.
    pub seed: u64,
}

impl StagePlan {
    /// Sequences of a micro-batch; a preference pair is two.
    pub fn rows(&self) -> usize {
        match self.kind {
            StageKind::Dpo => 2 * self.batch_size,
            _ => self.batch_size,
        }
    }

    /// Sequences that the stage sees.
    pub fn sequences(&self) -> usize {
        self.steps * self.grad_accumulation * self.rows()
    }

    /// The table of the recipe that it follows.
    pub fn table(&self) -> &'static str {
        match self.arm.starts_with(ArmPlan::DRAFTER) {
            true => "drafter",
            false => self.kind.name(),
        }
    }

    /// Arm, ratio in percent and stage: `chain/12.5-sft`.
    pub fn path(&self) -> String {
        let (arm, stage) = (&self.arm, self.kind.name());
        format!(
            "{arm}/{}-{stage}",
            crate::dashboard::percent(self.attention_ratio)
        )
    }

    /// Folder of the stage's checkpoint, relative to the run folder: `checkpoints/chain/12.5-sft`.
    pub fn checkpoint(&self) -> String {
        format!("checkpoints/{}", self.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixers_and_the_rest_share_the_tensors() {
        for (key, is_mixer) in [
            ("model.layers.0.mamba.D", true),
            ("model.layers.0.mlp.up_proj.weight", false),
            ("model.layers.1.self_attn.q_proj.weight", false),
            ("model.embed_tokens.weight", false),
        ] {
            assert_eq!(Trainable::Mixers.includes(key), is_mixer, "{key}");
            assert_eq!(Trainable::AllButMixers.includes(key), !is_mixer, "{key}");
            assert!(Trainable::All.includes(key), "{key}");
        }
    }
}
