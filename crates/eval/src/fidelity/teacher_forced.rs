//! Two models read the same text: how their next-token distributions differ.
use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor, TensorData};
use kernels::SsmBackend;
use model::HybridModel;
use serde::{Deserialize, Serialize};

use crate::EvalError;
use crate::batching::BatchLimits;
use crate::perplexity::MaskedExample;
use crate::statistics::{Interval, bootstrap_ratio};
use crate::token_scores::{LOGITS_ELEMENTS, check_ids, read};

/// Sums over the scored tokens of one example.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Agreement {
    /// Tokens scored.
    pub tokens: usize,
    /// `KL(teacher || student)` of the next token, nats.
    pub kl: f64,
    /// Tokens whose likeliest candidate is the same for both.
    pub same_top: usize,
    /// `-log p(token)` by the student.
    pub student_nll: f64,
    /// `-log p(token)` by the teacher.
    pub teacher_nll: f64,
}

impl std::iter::Sum for Agreement {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |sum, part| Self {
            tokens: sum.tokens + part.tokens,
            kl: sum.kl + part.kl,
            same_top: sum.same_top + part.same_top,
            student_nll: sum.student_nll + part.student_nll,
            teacher_nll: sum.teacher_nll + part.teacher_nll,
        })
    }
}

impl Agreement {
    /// Mean KL of a token, nats; NaN without tokens.
    pub fn mean_kl(&self) -> f64 {
        self.kl / self.tokens as f64
    }

    /// Share of tokens whose likeliest candidate is the same.
    pub fn top1(&self) -> f64 {
        self.same_top as f64 / self.tokens as f64
    }

    /// Perplexity of the student over the teacher's.
    pub fn perplexity_ratio(&self) -> f64 {
        ((self.student_nll - self.teacher_nll) / self.tokens as f64).exp()
    }
}

/// Perplexity of the student over the teacher's, with the interval of a paired bootstrap over examples.
pub fn perplexity_ratio(examples: &[Agreement]) -> Option<Interval> {
    let differences: Vec<f64> = examples
        .iter()
        .map(|example| example.student_nll - example.teacher_nll)
        .collect();
    let tokens: Vec<f64> = examples
        .iter()
        .map(|example| example.tokens as f64)
        .collect();
    bootstrap_ratio(&differences, &tokens).map(|interval| interval.map(f64::exp))
}

/// Lets both models read every example; sums of each, in order.
///
/// # Errors
/// [`EvalError::Vocabulary`] for models with other tokens; [`EvalError::MaskLength`], [`EvalError::TokenOutOfRange`],
/// [`EvalError::NotFinite`].
pub fn compare<B: SsmBackend>(
    teacher: &HybridModel<B>,
    student: &HybridModel<B>,
    examples: &[MaskedExample],
    limits: BatchLimits,
    mut progress: impl FnMut(usize),
) -> Result<Vec<Agreement>, EvalError> {
    let vocab_size = teacher.config().llama.vocab_size;
    let found = student.config().llama.vocab_size;
    if found != vocab_size {
        return Err(EvalError::Vocabulary {
            found,
            expected: vocab_size,
        });
    }
    for (index, example) in examples.iter().enumerate() {
        let (tokens, flags) = (example.ids.len(), example.is_scored.len());
        if tokens != flags {
            return Err(EvalError::MaskLength {
                index,
                flags,
                tokens,
            });
        }
        check_ids(example.ids, vocab_size)?;
    }
    let lengths: Vec<usize> = examples.iter().map(|example| example.ids.len()).collect();
    let mut sums = vec![Agreement::default(); examples.len()];
    let mut done = 0;
    for batch in limits.batches(&lengths) {
        let rows: Vec<(usize, MaskedExample)> = batch
            .iter()
            .map(|index| (*index, examples[*index]))
            .collect();
        compare_batch([teacher, student], &rows, limits, &mut sums)?;
        done += batch.len();
        progress(done);
    }
    Ok(sums)
}

fn compare_batch<B: SsmBackend>(
    models: [&HybridModel<B>; 2],
    batch: &[(usize, MaskedExample)],
    limits: BatchLimits,
    sums: &mut [Agreement],
) -> Result<(), EvalError> {
    let longest = batch.iter().map(|(_, example)| example.ids.len()).max();
    let seq = limits.padded(longest.unwrap_or(0));
    let mut ids = vec![0; batch.len() * seq];
    let (mut owners, mut positions, mut targets) = (Vec::new(), Vec::new(), Vec::new());
    for (row, (owner, example)) in batch.iter().enumerate() {
        for (t, (id, is_scored)) in example.ids.iter().zip(example.is_scored).enumerate() {
            ids[row * seq + t] = *id as i32;
            // Nothing predicts the first token.
            if *is_scored && t > 0 {
                owners.push(*owner);
                positions.push((row * seq + t - 1) as i32);
                targets.push(*id as i32);
            }
        }
    }
    if targets.is_empty() {
        return Ok(());
    }
    let device = models[0].device();
    let data = TensorData::new(ids, [batch.len(), seq]);
    let tokens = Tensor::<B, 2, Int>::from_data(data, &device);
    let count = positions.len();
    let positions = Tensor::<B, 1, Int>::from_data(TensorData::new(positions, [count]), &device);
    let hidden = models.map(|model| {
        let hidden = model.hidden(tokens.clone());
        let d_model = hidden.dims()[2];
        hidden
            .reshape([batch.len() * seq, d_model])
            .select(0, positions.clone())
    });
    let rows_at_once = (LOGITS_ELEMENTS / models[0].config().llama.vocab_size).max(1);
    for from in (0..count).step_by(rows_at_once) {
        let to = (from + rows_at_once).min(count);
        let [teacher, student] = [0, 1].map(|index| {
            let hidden: Tensor<B, 2> = hidden[index].clone().narrow(0, from, to - from);
            let logits = models[index].logits(hidden.unsqueeze_dim::<3>(0));
            log_softmax(logits.squeeze_dim::<2>(0), 1)
        });
        let owners = &owners[from..to];
        add(sums, owners, [teacher, student], &targets[from..to])?;
    }
    Ok(())
}

/// Adds what the log-probabilities `[tokens, vocab]` of teacher and student say about each token to the sums of its owner.
fn add<B: SsmBackend>(
    sums: &mut [Agreement],
    owners: &[usize],
    [teacher, student]: [Tensor<B, 2>; 2],
    targets: &[i32],
) -> Result<(), EvalError> {
    let data = TensorData::new(targets.to_vec(), [targets.len(), 1]);
    let ids = Tensor::<B, 2, Int>::from_data(data, &teacher.device());
    let picked = [&teacher, &student].map(|table| read(table.clone().gather(1, ids.clone())));
    let tops = [&teacher, &student].map(|table| {
        let top = table.clone().argmax(1).into_data();
        top.iter::<i64>().collect::<Vec<_>>()
    });
    let kl = read((teacher.clone().exp() * (teacher - student)).sum_dim(1));
    for (index, owner) in owners.iter().enumerate() {
        if !kl[index].is_finite() {
            return Err(EvalError::NotFinite {
                index,
                found: kl[index],
            });
        }
        let sum = &mut sums[*owner];
        sum.tokens += 1;
        // Rounding can leave equal distributions a little below 0.
        sum.kl += kl[index].max(0.0);
        sum.same_top += usize::from(tops[0][index] == tops[1][index]);
        sum.teacher_nll -= picked[0][index];
        sum.student_nll -= picked[1][index];
    }
    Ok(())
}

#[cfg(test)]
mod tests;
