//! Recipe of `pretrain`.

use std::path::Path;

use anyhow::{Context, ensure};
use eval::synthetic::TaskMix;
use model::LlamaConfig;
use serde::{Deserialize, Serialize};

use crate::recipe::apply_overrides;

/// A pretraining recipe.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainRecipe {
    /// Name of the experiment.
    pub name: String,
    /// Seed of weights, data and tasks.
    pub seed: u64,
    /// Shape of the model.
    pub model: ModelTable,
    /// What it reads.
    pub data: PretrainData,
    /// How it is trained.
    pub training: TrainingTable,
}

/// `[model]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ModelTable {
    /// Tokens of the tokenizer, special ones included.
    pub vocab_size: usize,
    /// Blocks.
    pub n_layers: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key/value heads.
    pub n_kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Width of the MLP.
    pub intermediate_size: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Context, tokens.
    pub max_position_embeddings: usize,
}

/// `[data]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainData {
    /// Share of batches that hold freshly drawn synthetic tasks; the others hold dialogues.
    pub task_share: f64,
    /// Share of recall tasks that ask for every pair of their list, turn after turn.
    pub drill_share: f64,
    /// Share of batches whose rows join conversations up to `seq_len`.
    pub packed_share: f64,
    /// Longest row, tokens.
    pub seq_len: usize,
    /// Share of the replies kept for the held-out loss.
    pub held_out_share: f64,
    /// Steps over which the most pairs of a task grow to `tasks.max_pairs`.
    pub curriculum_steps: usize,
    /// Kinds and lengths of tasks.
    pub tasks: TaskMix,
}

/// `[training]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingTable {
    /// Optimiser steps.
    pub steps: usize,
    /// Time limit of the steps: they, and the cosine of the learning rate with them, are cut to what fits into it.
    pub minutes: Option<f64>,
    /// Rows times length of a batch, padding included.
    pub tokens_per_batch: usize,
    /// Learning rate after warm-up.
    pub lr_peak: f64,
    /// Learning rate at the end.
    pub lr_floor: f64,
    /// Steps of warm-up.
    pub warmup_steps: usize,
    /// Moments of AdamW.
    pub betas: [f64; 2],
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Largest global gradient norm.
    pub clip_norm: f64,
    /// Steps between two reads of the loss.
    pub log_every: usize,
    /// Held-out tasks of each kind and number of pairs that the trained model is measured on.
    pub eval_tasks: usize,
}

impl PretrainRecipe {
    /// Reads a recipe file and applies `--set` arguments.
    ///
    /// # Errors
    /// When the file cannot be read, has an unknown key, or a value that cannot work.
    pub fn load(path: &Path, overrides: &[String]) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("could not read `{}`", path.display()))?;
        Self::parse(&text, overrides).with_context(|| format!("recipe `{}`", path.display()))
    }

    /// Parses recipe text and applies `--set` arguments.
    ///
    /// # Errors
    /// As [`PretrainRecipe::load`].
    pub fn parse(text: &str, overrides: &[String]) -> anyhow::Result<Self> {
        let mut table: toml::Table = toml::from_str(text)?;
        apply_overrides(&mut table, overrides)?;
        let recipe: Self = table.try_into()?;
        recipe.check()?;
        Ok(recipe)
    }

    fn check(&self) -> anyhow::Result<()> {
        let (model, data, training) = (&self.model, &self.data, &self.training);
        ensure!(
            model.n_kv_heads > 0 && model.n_heads % model.n_kv_heads == 0,
            "`model.n_kv_heads` is {}, must divide `model.n_heads` = {}",
            model.n_kv_heads,
            model.n_heads
        );
        ensure!(
            data.seq_len >= 16 && data.seq_len <= model.max_position_embeddings,
            "`data.seq_len` is {}, must be 16 to `model.max_position_embeddings` = {}",
            data.seq_len,
            model.max_position_embeddings
        );
        for (name, share) in [
            ("task_share", data.task_share),
            ("drill_share", data.drill_share),
            ("packed_share", data.packed_share),
            ("held_out_share", data.held_out_share),
        ] {
            ensure!(
                (0.0..=1.0).contains(&share),
                "`data.{name}` is {share}, must be 0.0 to 1.0"
            );
        }
        ensure!(
            training.tokens_per_batch >= data.seq_len,
            "`training.tokens_per_batch` is {}, must be at least `data.seq_len` = {}",
            training.tokens_per_batch,
            data.seq_len
        );
        ensure!(
            training.log_every > 0,
            "`training.log_every` is 0, must be at least 1"
        );
        ensure!(
            training
                .minutes
                .is_none_or(|minutes| minutes > 0.0 && minutes.is_finite()),
            "`training.minutes` is {}, must be above 0",
            training.minutes.unwrap_or_default()
        );
        Ok(())
    }

    /// The model's configuration; `eos` ends a turn.
    pub fn llama_config(&self, vocab_size: usize, eos: u32) -> LlamaConfig {
        let model = &self.model;
        LlamaConfig {
            d_model: model.d_model,
            n_layers: model.n_layers,
            n_heads: model.n_heads,
            n_kv_heads: model.n_kv_heads,
            head_dim: model.head_dim,
            intermediate_size: model.intermediate_size,
            vocab_size,
            rope_theta: model.rope_theta,
            rope_scaling: None,
            rms_norm_eps: 1e-5,
            tie_word_embeddings: true,
            max_position_embeddings: model.max_position_embeddings,
            sliding_window: None,
            qkv_bias: false,
            bos_token_id: None,
            eos_token_ids: vec![eos],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TINY: &str = include_str!("../../../../../experiments/tiny-pretrain.toml");

    #[test]
    fn the_tiny_recipe_parses_and_overrides_apply() {
        let recipe = PretrainRecipe::parse(TINY, &[]).expect("parses");
        assert_eq!(recipe.model.d_model, 128);
        let recipe = PretrainRecipe::parse(TINY, &["training.steps=7".into()]).expect("parses");
        assert_eq!(recipe.training.steps, 7);
    }

    #[test]
    fn an_impossible_value_names_its_field() {
        for (set, field) in [
            ("model.n_kv_heads=3", "model.n_kv_heads"),
            ("data.seq_len=1000", "data.seq_len"),
            ("data.task_share=2.0", "data.task_share"),
        ] {
            let error = PretrainRecipe::parse(TINY, &[set.into()]).expect_err(set);
            assert!(format!("{error:#}").contains(field), "{error:#}");
        }
    }
}
