//! Recipe tables `[distillation]`, `[sft]`, `[dpo]`, and a stage as it will run.
use serde::{Deserialize, Serialize};

/// A training phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StageKind {
    /// Stage 1: the teacher's answers and distributions.
    Distillation,
    /// Stage 2: fine-tuning on replies.
    Sft,
    /// Stage 3: direct preference optimisation.
    Dpo,
}

impl StageKind {
    /// Name in recipes, logs and folders.
    pub fn name(self) -> &'static str {
        match self {
            Self::Distillation => "distillation",
            Self::Sft => "sft",
            Self::Dpo => "dpo",
        }
    }
}

/// What is divided by what in the KL term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KlReduction {
    /// Mean over the positions of the mask.
    TokenMean,
    /// Sum over positions and vocabulary, divided by the batch (published).
    Batchmean,
}

/// Positions of the KL term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KlMask {
    /// Where the next token is a label.
    Labels,
    /// Everywhere (published).
    All,
}

/// Tensors that a stage changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trainable {
    /// Tensors of the new mixers only.
    Mixers,
    /// Everything.
    All,
}

/// Policy that DPO compares with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DpoReference {
    /// A frozen copy of the student before the stage (published code).
    SftCopy,
    /// The teacher (the paper's formula).
    Teacher,
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
            /// `mixers` or `all`.
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

stage_table! {
    /// `[distillation]`.
    DistillationTable {
        /// Weight of cross-entropy on the labels (1).
        ce_weight: f64,
        /// Weight of KL to the teacher (1).
        kl_weight: f64,
        /// `token-mean` or `batchmean`.
        kl_reduction: KlReduction,
        /// `labels` or `all`.
        kl_mask: KlMask,
        /// Train at 75 % attention first (method, section 4.1, row 1a).
        progressive_substep: bool,
    }
}
stage_table! {
    /// `[sft]`.
    SftTable {
        /// Weight of cross-entropy on the labels (1).
        ce_weight: f64,
        /// Weight of KL to the teacher (0).
        kl_weight: f64,
        /// `token-mean` or `batchmean`.
        kl_reduction: KlReduction,
        /// `labels` or `all`.
        kl_mask: KlMask,
    }
}
stage_table! {
    /// `[dpo]`.
    DpoTable {
        /// Scale of the log-ratio (0.1).
        beta: f64,
        /// `sft-copy` or `teacher`.
        reference: DpoReference,
    }
}

/// Weights and reduction of the distillation and SFT loss.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LossPlan {
    /// Weight of cross-entropy on the labels.
    pub ce_weight: f64,
    /// Weight of KL to the teacher; 0 leaves the teacher out.
    pub kl_weight: f64,
    /// What the KL sum is divided by.
    pub kl_reduction: KlReduction,
    /// Positions of the KL term.
    pub kl_mask: KlMask,
}

/// Settings of DPO.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DpoPlan {
    /// Scale of the log-ratio.
    pub beta: f64,
    /// Policy to compare with.
    pub reference: DpoReference,
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
    /// Loss of distillation and SFT; DPO ignores it.
    pub loss: LossPlan,
    /// Settings of DPO; other stages ignore them.
    pub dpo: DpoPlan,
    /// Seed of the order of examples, equal for stages that are compared.
    pub seed: u64,
}

impl StagePlan {
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
