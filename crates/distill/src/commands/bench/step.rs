//! `bench step`: what a training step of stage 1 takes, and which part of it.

use std::io::{self, Write};
use std::time::Instant;

use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use burn::tensor::backend::Backend;
use eval::report::{Cell, Table};
use model::{HybridConfig, HybridModel, InitFrom, Layout, LlamaConfig, SsmConfig};
use model::{LayerPlan, ModelError};

use crate::backend::{self, Device, InnerBackend};
use crate::builtin::load_path;
use crate::cli::StepArgs;
use crate::commands::Outcome;
use crate::data::{Batch, Example, RowLength};
use crate::loss::{Denominators, DistillationLoss, distillation_loss};
use crate::recipe::{KlMask, KlReduction, LossPlan, Precision, Trainable};
use crate::run::MemoryUse;
use crate::trainer::{MicroStep, Schedule, Trainer, TrainerConfig};

/// Rounds that are timed; the median counts.
const ROUNDS: usize = 7;
/// Rounds before them, in which kernels are compiled and tuned.
const WARM_UP: usize = 3;

/// Cross-entropy and forward KL at every position: as much as stage 1 can be asked for.
const LOSS: LossPlan = LossPlan {
    ce_weight: 1.0,
    kl_weight: 0.1,
    kl_reduction: KlReduction::TokenMean,
    kl_mask: KlMask::All,
    ..LossPlan::CROSS_ENTROPY
};

/// A step in the making.
struct Bench<'a> {
    teacher: HybridModel<InnerBackend>,
    student: HybridModel<Autodiff<InnerBackend>>,
    batch: Batch,
    device: &'a Device,
}

impl Bench<'_> {
    fn loss(
        &self,
        student: &HybridModel<Autodiff<InnerBackend>>,
    ) -> DistillationLoss<InnerBackend> {
        let over = Denominators::of([&self.batch]);
        distillation_loss(
            student,
            Some(&self.teacher),
            &self.batch,
            &LOSS,
            over,
            self.device,
        )
    }

    /// Milliseconds of the teacher, of the student with the loss, of the backward pass, and of a whole step, in which
    /// the device does not wait between them.
    fn times(&self) -> [f64; 4] {
        let wait = || InnerBackend::sync(self.device).expect("the device answers");
        // A tape lives until a backward pass: no forward pass may go without one.
        let parts = medians(|| {
            let started = Instant::now();
            self.batch.hidden(&self.teacher, self.device);
            wait();
            let teacher = started.elapsed();
            let parts = self.loss(&self.student);
            wait();
            let both = started.elapsed();
            let gradients = parts.loss.backward();
            if let Some(blocks) = parts.blocks {
                blocks.backward(&self.student, gradients, drop);
            }
            wait();
            let all = started.elapsed();
            // The loss runs the teacher once more.
            let loss = (both - teacher).saturating_sub(teacher);
            [teacher, loss, all - both].map(|time| time.as_secs_f64() * 1e3)
        });
        let config = TrainerConfig {
            schedule: Schedule::cosine(1e-6, 0, 1_000_000),
            betas: [0.9, 0.98],
            weight_decay: 0.0,
            clip_norm: 1.0,
        };
        let mut trainer = Trainer::<InnerBackend>::new(config, &self.student, self.device);
        let mut student = Some(self.student.clone());
        let [step] = medians(|| {
            let started = Instant::now();
            let model = student.take().expect("put back by every round");
            let (model, _) = trainer.step(model, 1, |model, _| {
                let parts = self.loss(model);
                MicroStep {
                    loss: parts.loss,
                    metrics: parts.ce,
                    blocks: parts.blocks,
                }
            });
            student = Some(model);
            wait();
            [started.elapsed().as_secs_f64() * 1e3]
        });
        let [teacher, loss, backward] = parts;
        [teacher, loss, backward, step]
    }
}

/// Medians of [`ROUNDS`] runs.
fn medians<const N: usize>(mut run: impl FnMut() -> [f64; N]) -> [f64; N] {
    (0..WARM_UP).for_each(|_| {
        run();
    });
    let rounds: Vec<[f64; N]> = (0..ROUNDS).map(|_| run()).collect();
    std::array::from_fn(|part| {
        let mut times: Vec<f64> = rounds.iter().map(|times| times[part]).collect();
        times.sort_by(f64::total_cmp);
        times[ROUNDS / 2]
    })
}

/// The shape of SmolLM2-135M.
pub(super) fn smollm2_135m() -> LlamaConfig {
    LlamaConfig {
        d_model: 576,
        n_layers: 30,
        n_heads: 9,
        n_kv_heads: 3,
        head_dim: 64,
        intermediate_size: 1536,
        vocab_size: 49_152,
        rope_theta: 100_000.0,
        rope_scaling: None,
        rms_norm_eps: 1e-5,
        tie_word_embeddings: true,
        max_position_embeddings: 8192,
        sliding_window: None,
        qkv_bias: false,
        bos_token_id: None,
        eos_token_ids: Vec::new(),
    }
}

fn student(
    teacher: &HybridModel<InnerBackend>,
    args: &StepArgs,
) -> Result<HybridModel<Autodiff<InnerBackend>>, ModelError> {
    let layers = LayerPlan::for_ratio(teacher.n_layers(), args.ratio, Layout::Interleaved)?;
    let ssm = SsmConfig::published(args.mixer.into(), &teacher.config().llama);
    let student = teacher.convert(&ssm, &layers, InitFrom::Attention, 0)?;
    let student = student.checkpointed(args.activation_checkpointing);
    Ok(HybridModel::from_inner(student)
        .freeze(|key| Trainable::Mixers.includes(key))
        .with_frozen_projections_cast())
}

/// Tokens without meaning, the same on every run, all of them targets.
fn batch(args: &StepArgs, vocab: usize) -> Batch {
    let rows: Vec<Example> = (0..args.batch_size)
        .map(|row| {
            let id = |t: usize| ((row * args.seq_len + t) * 7919 % vocab) as u32;
            Example {
                ids: (0..args.seq_len).map(id).collect(),
                targets: vec![true; args.seq_len],
            }
        })
        .collect();
    Batch::new(&rows, RowLength::Exactly(args.seq_len))
}

/// Prints the parts of a step on stdout.
///
/// # Errors
/// An unreadable teacher, a ratio its layers do not allow, a closed stdout.
pub(super) fn run(args: &StepArgs, device: &Device) -> anyhow::Result<Outcome> {
    let teacher = match &args.teacher {
        Some(path) => load_path::<InnerBackend>(path, device)?.model,
        None => HybridModel::init(&HybridConfig::teacher(smollm2_135m()), device),
    };
    let precision = Precision::from(args.precision);
    let teacher = teacher.computing_in(precision.compute());
    let bench = Bench {
        student: student(&teacher, args)?,
        batch: batch(args, teacher.config().llama.vocab_size),
        teacher: teacher.with_frozen_projections_cast(),
        device,
    };
    let [teacher, loss, backward, step] = bench.times();
    let tokens_per_s = (args.batch_size * args.seq_len) as f64 / step * 1e3;
    let parts = [
        ("teacher forward", teacher),
        ("student forward and loss", loss),
        ("backward", backward),
        ("step", step),
    ];
    let peak = MemoryUse::of_host()
        .host_peak_bytes
        .filter(|_| backend::IS_HOST);
    let mut out = io::stdout().lock();
    if args.json {
        let ms: serde_json::Map<_, _> = parts
            .map(|(part, ms)| (part.to_string(), ms.into()))
            .into_iter()
            .collect();
        let report = serde_json::json!({
            "backend": backend::NAME,
            "device": format!("{device:?}"),
            "precision": precision,
            "mixer": format!("{:?}", args.mixer).to_lowercase(),
            "attention_ratio": args.ratio,
            "batch_size": args.batch_size,
            "seq_len": args.seq_len,
            "ms": ms,
            "tokens_per_s": tokens_per_s,
            "activation_checkpointing": args.activation_checkpointing,
            "peak_resident_bytes": peak,
        });
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
        return Ok(Outcome::Done);
    }
    let mut table = Table::new()
        .text_column("part", "part")
        .number_column("ms", "ms")
        .number_column("share", "share");
    for (part, ms) in parts {
        table.push([
            Cell::text(part),
            Cell::number(ms, 1),
            Cell::percent(ms / step),
        ]);
    }
    writeln!(
        out,
        "{} {device:?}: {:?} at {} attention, B{} L{}, {}",
        backend::NAME,
        args.mixer,
        args.ratio,
        args.batch_size,
        args.seq_len,
        precision.name()
    )?;
    let peak = peak.map_or(String::new(), |peak| {
        format!(", at most {} MiB in memory", peak >> 20)
    });
    writeln!(
        out,
        "{tokens_per_s:.0} tokens/s{peak}\n\n{}",
        table.to_text()
    )?;
    Ok(Outcome::Done)
}
