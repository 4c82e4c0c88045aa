//! What a plan will cost, before it runs.
use std::time::Instant;

use burn::tensor::{Tensor, backend::Backend};
use model::{HybridConfig, LlamaConfig, SsmConfig, spread_layers};

use super::models::{layer_plan, ssm_config};
use crate::dashboard::{duration, percent};
use crate::loss::head::rows_at_a_time;
use crate::recipe::{ArmPlan, Plan, Precision, StageKind, StagePlan, Trainable};

/// Counts of one stage.
#[derive(Debug, Clone, PartialEq)]
pub struct StageEstimate {
    /// Layers that keep attention.
    pub attn_layers: Vec<usize>,
    /// Parameters of the student.
    pub parameters: usize,
    /// Parameters that the stage changes.
    pub trainable: usize,
    /// Most tokens that the stage sees.
    pub tokens: usize,
    /// Floating-point operations.
    pub flops: f64,
    /// Bytes of weights, gradients, moments and activations.
    pub memory_bytes: usize,
}

/// Parameters of a model: tied embeddings count once.
pub fn parameters(config: &HybridConfig) -> usize {
    let llama = &config.llama;
    let head = if llama.tie_word_embeddings {
        0
    } else {
        llama.vocab_size * llama.d_model
    };
    let layers: usize = (0..llama.n_layers)
        .map(|layer_idx| {
            let is_attention = config.attn_layers.contains(&layer_idx);
            let mixer = match &config.ssm {
                Some(ssm) if !is_attention => mixer_parameters(llama, ssm),
                _ => attention_parameters(llama),
            };
            mixer + 3 * llama.d_model * llama.intermediate_size + 2 * llama.d_model
        })
        .sum();
    llama.vocab_size * llama.d_model + head + layers + llama.d_model
}

fn attention_parameters(llama: &LlamaConfig) -> usize {
    2 * llama.d_model * (llama.d_inner() + llama.d_xb()) + biases(llama.qkv_bias, llama)
}

/// Of queries, keys and values, and of what stands in their place, if there `are` any.
fn biases(are: bool, llama: &LlamaConfig) -> usize {
    if are {
        llama.d_inner() + 2 * llama.d_xb()
    } else {
        0
    }
}

/// Shapes of method, sections 2.4 and 2.5.
fn mixer_parameters(llama: &LlamaConfig, ssm: &SsmConfig) -> usize {
    let (d_model, d_inner, d_xb) = (llama.d_model, llama.d_inner(), llama.d_xb());
    let convolution = ssm.conv_channels(llama) * (ssm.d_conv + 1);
    let projections = d_model * (3 * d_inner + 2 * d_xb) + biases(ssm.in_proj_bias, llama);
    match ssm.mixer {
        model::MixerKind::Mamba1 => {
            let step = ssm.dt_rank * (d_model + d_inner) + d_inner;
            projections + convolution + step + d_inner * (ssm.d_state + 1)
        }
        _ => {
            let gate_and_steps = usize::from(ssm.in_proj_bias) * (d_inner + llama.n_heads);
            let steps = (d_model + 3) * llama.n_heads;
            projections + gate_and_steps + convolution + steps + d_inner
        }
    }
}

/// What a stage costs: the student forward and backward on every token (6 operations a parameter), the teacher or
/// reference forward where the loss needs it (2), and the student's blocks once more where their activations are not kept
/// (2).
pub fn stage(config: &HybridConfig, plan: &Plan, stage: &StagePlan) -> StageEstimate {
    let total = parameters(config);
    let llama = &config.llama;
    let new_layers = llama.n_layers - config.attn_layers.len();
    let mixers = match &config.ssm {
        Some(ssm) => new_layers * mixer_parameters(llama, ssm),
        None => 0,
    };
    let trainable = match stage.trainable {
        Trainable::Mixers => mixers,
        Trainable::AllButMixers => total - mixers,
        Trainable::All => total,
    };
    let micro_tokens = stage.rows() * plan.data.seq_len;
    let tokens = stage.sequences() * plan.data.seq_len;
    let is_checkpointed = is_checkpointed(plan, stage);
    let passes = 3 + usize::from(has_teacher(stage)) + usize::from(is_checkpointed);
    let per_token = (2 * passes * total) as f64;
    // Kept for the backward pass, in numbers a token: about a dozen of the width and four of the MLP a layer. Of the
    // logits there is a block at a time, about eight times over: student, teacher, their softmax, the gradient.
    let of_block = 12 * llama.d_model + 4 * llama.intermediate_size;
    let kept = match is_checkpointed {
        true => llama.n_layers * llama.d_model + of_block,
        false => llama.n_layers * of_block,
    };
    let block = rows_at_a_time(llama.vocab_size).min(micro_tokens) * llama.vocab_size;
    let memory_bytes = 4 * (2 * total + 3 * trainable + micro_tokens * kept + 8 * block);
    StageEstimate {
        attn_layers: config.attn_layers.clone(),
        parameters: total,
        trainable,
        tokens,
        flops: per_token * tokens as f64,
        memory_bytes,
    }
}

/// Floating-point operations that a token of a training step takes: 2 a parameter for each forward pass, 2 on the way back
/// and 2 for each parameter that is trained. Embeddings are looked up, not multiplied; products of attention are left out.
pub fn flops_per_token(config: &HybridConfig, plan: &Plan, stage_plan: &StagePlan) -> f64 {
    let StageEstimate {
        parameters,
        trainable,
        ..
    } = stage(config, plan, stage_plan);
    let llama = &config.llama;
    let looked_up = match llama.tie_word_embeddings {
        true => 0,
        false => llama.vocab_size * llama.d_model,
    };
    let multiplied = parameters - looked_up;
    // The reference of DPO speaks once, before the steps.
    let has_teacher = stage_plan.kind != StageKind::Dpo && has_teacher(stage_plan);
    let passes = 2 + usize::from(has_teacher) + usize::from(is_checkpointed(plan, stage_plan));
    (2 * (passes * multiplied + trainable.min(multiplied))) as f64
}

/// Whether a teacher or reference runs forward in each step.
fn has_teacher(stage: &StagePlan) -> bool {
    matches!(stage.kind, StageKind::Alignment | StageKind::Dpo) || stage.loss.kl_weight > 0.0
}

/// Whether blocks run once more on the way back; alignment compares them one by one, on one tape.
fn is_checkpointed(plan: &Plan, stage: &StagePlan) -> bool {
    plan.activation_checkpointing && stage.kind != StageKind::Alignment
}

/// The plan as text: a line a stage, sums at the end. `flops_per_s` is what the device was measured to do.
///
/// # Errors
/// If a ratio cannot be reached from the teacher.
pub fn describe(
    plan: &Plan,
    teacher: &HybridConfig,
    flops_per_s: f64,
) -> Result<String, model::ModelError> {
    let labels = plan.arms.iter().flat_map(|arm| {
        let stages = arm.rungs.iter().flat_map(|rung| &rung.stages);
        stages.map(|stage| label(arm, stage).len())
    });
    let width = labels.max().unwrap_or_default().max(33) + 1;
    let mut text = format!(
        "{}: {} layers, {:.2} M parameters, seed {}\n\n{:<width$}{:>7}  {:>9}{:>10}{:>11}{:>10}{:>8}  kept layers\n",
        plan.name,
        teacher.llama.n_layers,
        parameters(teacher) as f64 / 1e6,
        plan.seed,
        "stage",
        "steps",
        "total",
        "trained",
        "tokens",
        "memory",
        "time",
    );
    let (mut tokens, mut flops, mut memory_bytes) = (0, 0.0, 0);
    for arm in &plan.arms {
        for rung in &arm.rungs {
            let config = student_config(arm, teacher, rung.attention_ratio)?;
            for stage_plan in &rung.stages {
                let cost = stage(&config, plan, stage_plan);
                let label = label(arm, stage_plan);
                let kept = match arm.layer_choice {
                    Some(_) => format!("{} by KL", cost.attn_layers.len()),
                    None => format!("{:?}", cost.attn_layers),
                };
                text += &format!(
                    "{label:<width$}{:>7}  {:>7.2} M{:>8.2} M{:>11}{:>10}{:>8}  {kept}\n",
                    stage_plan.steps,
                    cost.parameters as f64 / 1e6,
                    cost.trainable as f64 / 1e6,
                    cost.tokens,
                    bytes(cost.memory_bytes),
                    time(cost.flops, flops_per_s),
                );
                tokens += cost.tokens;
                flops += cost.flops;
                memory_bytes = memory_bytes.max(cost.memory_bytes);
            }
        }
    }
    text += &format!(
        "\nat most {tokens} tokens, about {} of memory and {} of training at {:.1} GFLOP/s; \
         measures and teacher answers come on top\n",
        bytes(memory_bytes),
        time(flops, flops_per_s),
        flops_per_s / 1e9
    );
    if let Some(bar) = plan.eval.gate {
        text += &format!(
            "gate: at most {bar} times the teacher's perplexity at every ratio of the main arm\n"
        );
    }
    Ok(text)
}

/// What the teacher becomes at a ratio of an arm.
fn student_config(
    arm: &ArmPlan,
    teacher: &HybridConfig,
    attention_ratio: f64,
) -> Result<HybridConfig, model::ModelError> {
    let n_layers = teacher.llama.n_layers;
    if let Some(count) = arm.drafter_layers {
        return teacher.shrink(&spread_layers(n_layers, count));
    }
    Ok(HybridConfig {
        llama: teacher.llama.clone(),
        attn_layers: layer_plan(&arm.student, n_layers, attention_ratio)?.attn_layers,
        ssm: Some(ssm_config(&arm.student, teacher)),
    })
}

/// `50 % distillation (random-mixer)`; the main arm has no name.
fn label(arm: &ArmPlan, stage: &StagePlan) -> String {
    let (ratio, kind) = (percent(stage.attention_ratio), stage.kind.name());
    match arm.side_name() {
        None => format!("{ratio} % {kind}"),
        Some(name) => format!("{ratio} % {kind} ({name})"),
    }
}

fn time(flops: f64, flops_per_s: f64) -> String {
    // `as` saturates: nonsense rates give a long time, not a panic.
    duration((flops / flops_per_s * 1000.0) as u64)
}

/// What the device does with matrix products of a training step's size, floating-point operations a second.
pub fn measure_flops_per_s<B: Backend>(device: &B::Device) -> f64 {
    const WIDTH: usize = 512;
    let product = || {
        let a = Tensor::<B, 2>::ones([WIDTH, WIDTH], device);
        // Read back, so that the work is done when the clock is stopped.
        a.clone().matmul(a).sum().into_data()
    };
    product();
    let started = Instant::now();
    let mut rounds = 0;
    while rounds < 3 || started.elapsed().as_millis() < 200 {
        product();
        rounds += 1;
    }
    // A training step also spends time outside of products: count half.
    0.5 * f64::from(rounds) * 2.0 * (WIDTH as f64).powi(3) / started.elapsed().as_secs_f64()
}

/// The most that the device does with large matrix products in `precision`, floating-point operations a second: what a
/// training step can be held against.
pub fn measure_peak_flops_per_s<B: Backend>(device: &B::Device, precision: Precision) -> f64 {
    let (width, rounds) = if crate::backend::IS_HOST {
        (768, 4)
    } else {
        (4096, 16)
    };
    let square = Tensor::<B, 2>::full([width, width], 1e-3, device);
    let square = match precision.compute() {
        Some(compute) => square.cast(compute),
        None => square,
    };
    // One read at the end of a row of products, each of which needs the one before.
    let products = |count: usize| {
        let started = Instant::now();
        let product = (0..count).fold(square.clone(), |x, _| x.matmul(square.clone()));
        product.narrow(0, 0, 1).into_data();
        started.elapsed().as_secs_f64()
    };
    products(1);
    let seconds = (0..3).map(|_| products(rounds)).fold(f64::MAX, f64::min);
    rounds as f64 * 2.0 * (width as f64).powi(3) / seconds.max(1e-9)
}

/// Bytes with a binary unit.
pub(super) fn bytes(count: usize) -> String {
    match count {
        0..1_048_576 => format!("{:.0} KiB", count as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.0} MiB", count as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", count as f64 / 1_073_741_824.0),
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;
    use burn::module::Module;
    use model::{GqaRepeat, HybridModel, MixerKind};

    use super::*;

    #[test]
    fn parameters_are_those_of_the_model() {
        let llama = LlamaConfig {
            d_model: 32,
            n_layers: 4,
            n_heads: 4,
            n_kv_heads: 2,
            head_dim: 16,
            intermediate_size: 40,
            vocab_size: 50,
            rope_theta: 1e4,
            rope_scaling: None,
            rms_norm_eps: 1e-5,
            tie_word_embeddings: true,
            max_position_embeddings: 64,
            sliding_window: None,
            qkv_bias: false,
            bos_token_id: None,
            eos_token_ids: vec![],
        };
        let untied = LlamaConfig {
            tie_word_embeddings: false,
            ..llama.clone()
        };
        let biased = LlamaConfig {
            qkv_bias: true,
            ..llama.clone()
        };
        let hybrid_of = |llama: &LlamaConfig, mixer, gqa_repeat| HybridConfig {
            llama: llama.clone(),
            attn_layers: vec![1],
            ssm: Some(SsmConfig {
                gqa_repeat,
                ..SsmConfig::published(mixer, llama)
            }),
        };
        let hybrid = |mixer, gqa_repeat| hybrid_of(&llama, mixer, gqa_repeat);
        for config in [
            HybridConfig::teacher(llama.clone()),
            HybridConfig::teacher(untied),
            hybrid(MixerKind::Mamba1, GqaRepeat::Head),
            hybrid(MixerKind::Mamba1, GqaRepeat::ChunkN),
            hybrid(MixerKind::Mamba2, GqaRepeat::Head),
            hybrid_of(&biased, MixerKind::Mamba1, GqaRepeat::ChunkN),
            hybrid_of(&biased, MixerKind::Mamba2, GqaRepeat::Head),
        ] {
            let model = HybridModel::<Flex>::init(&config, &Default::default());
            assert_eq!(parameters(&config), model.num_params(), "{config:?}");
        }
    }
}
