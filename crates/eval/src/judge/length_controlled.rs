//! Win rate over a baseline at equal length (AlpacaEval 2, arXiv 2404.04475).
//!
//! For the comparison on question `i`, with `p_i` how much the judge prefers the answer (0 to 1), `l_i` characters of the answer less
//! those of the baseline's, `s` the standard deviation of all `l_i` and `d_i` how difficult the instruction is:
//!
//! ```text
//! logit E[p_i] = model + length tanh(l_i / s) + difficulty d_i
//! win          = mean over i of sigmoid(model + difficulty d_i)        what is left at l_i = 0
//! ```
//!
//! The weights maximise `sum p log q + (1 - p) log (1 - q)` less `RIDGE / 2` times their squares (`RIDGE` 0.01: upstream's `C = 100`,
//! without its cross-validation of `C` and without its two gamed baselines, whose annotations are not at hand offline). The
//! standard error has two parts: that of the weights, by the sandwich `H^-1 (sum (p - q)^2 x x^T) H^-1` and the delta method, and
//! that of drawing instructions, the deviation of the predictions by the root of their number.
//!
//! Upstream takes `d_i` from its leaderboard. Here it is a column of the questions, or [`difficulties`] estimates it from several models
//! against one baseline as upstream did, or the term is left out.
use serde::{Deserialize, Serialize};

use crate::statistics::Estimate;

/// Inverse of the variance that weights are expected to have.
const RIDGE: f64 = 0.01;
/// The same of an instruction's difficulty, whose weight is 1 while it is estimated.
const DIFFICULTY_RIDGE: f64 = 1.0;
/// Newton steps, of which a convex problem of this kind takes about ten.
const STEPS: usize = 50;

/// A comparison with the baseline on one question.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// Which question, in the order of its file.
    pub question: usize,
    /// How much the judge prefers the answer, from 0 to 1.
    pub preference: f64,
    /// Characters of the answer less those of the baseline's.
    pub longer: f64,
    /// Difficulty of the instruction.
    pub difficulty: Option<f64>,
}

/// A win rate at equal length.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LengthControlled {
    /// Share of comparisons won at equal length, a tie as half of one.
    pub win: f64,
    /// Standard error of `win`.
    pub standard_error: f64,
    /// Weight of the model itself.
    pub model: f64,
    /// Weight of being longer: above 0 the judge likes length.
    pub length: f64,
    /// Weight of the difficulty, where it is known of every question.
    pub difficulty: Option<f64>,
    /// Comparisons.
    pub count: usize,
}

/// The win rate of one model at equal length; none for no comparisons.
pub fn length_controlled(comparisons: &[Comparison]) -> Option<LengthControlled> {
    let count = comparisons.len();
    if count == 0 {
        return None;
    }
    let known: Option<Vec<f64>> = comparisons.iter().map(|one| one.difficulty).collect();
    let lengths = length_terms(comparisons);
    let n_weights = if known.is_some() { 3 } else { 2 };
    let of = |index: usize, length: f64| {
        let mut terms = vec![(0, 1.0), (1, length)];
        terms.extend(known.as_ref().map(|known| (2, known[index])));
        terms
    };
    let rows: Vec<Row> = comparisons
        .iter()
        .enumerate()
        .map(|(index, one)| Row {
            terms: of(index, lengths[index]),
            target: one.preference,
        })
        .collect();
    let ridge = vec![RIDGE; n_weights];
    let weights = fit(&rows, &ridge);
    let predictions: Vec<f64> = (0..count)
        .map(|index| sigmoid(dot(&of(index, 0.0), &weights)))
        .collect();
    let mut gradient = vec![0.0; n_weights];
    for (index, q) in predictions.iter().enumerate() {
        for (place, term) in of(index, 0.0) {
            gradient[place] += q * (1.0 - q) * term / count as f64;
        }
    }
    let (_, hessian) = slope(&rows, &ridge, &weights);
    let lever = solve(hessian, gradient);
    let of_weights: f64 = rows
        .iter()
        .map(|row| {
            ((row.target - sigmoid(dot(&row.terms, &weights))) * dot(&row.terms, &lever)).powi(2)
        })
        .sum();
    let of_instructions = Estimate::of(&predictions);
    Some(LengthControlled {
        win: of_instructions.mean,
        standard_error: (of_weights + of_instructions.standard_error.powi(2)).sqrt(),
        model: weights[0],
        length: weights[1],
        difficulty: known.map(|_| weights[2]),
        count,
    })
}

/// How difficult each of `n_questions` is, from the comparisons of several models with one baseline: what is left of a question when
/// a weight of each model and its weight of length are taken out of `logit E[p]`, fitted together; higher is where models win.
///
/// None for fewer than two models, whose difference from each other is all there is to learn from.
pub fn difficulties(models: &[Vec<Comparison>], n_questions: usize) -> Option<Vec<f64>> {
    if models.len() < 2 {
        return None;
    }
    let mut rows = Vec::new();
    for (model, comparisons) in models.iter().enumerate() {
        let lengths = length_terms(comparisons);
        for (one, length) in comparisons.iter().zip(lengths) {
            let first = n_questions + 2 * model;
            rows.push(Row {
                terms: vec![(one.question, 1.0), (first, 1.0), (first + 1, length)],
                target: one.preference,
            });
        }
    }
    let mut ridge = vec![DIFFICULTY_RIDGE; n_questions];
    ridge.resize(n_questions + 2 * models.len(), RIDGE);
    let mut weights = fit(&rows, &ridge);
    weights.truncate(n_questions);
    Some(weights)
}

/// `tanh` of each difference of lengths over their standard deviation; 0 where all are the same.
fn length_terms(comparisons: &[Comparison]) -> Vec<f64> {
    let lengths: Vec<f64> = comparisons.iter().map(|one| one.longer).collect();
    let deviation = Estimate::of(&lengths).standard_error * (lengths.len() as f64).sqrt();
    let term = |longer: &f64| {
        if deviation > 0.0 {
            (longer / deviation).tanh()
        } else {
            0.0
        }
    };
    lengths.iter().map(term).collect()
}

/// A row of a logistic regression: places of weights with their factors, and a share.
struct Row {
    terms: Vec<(usize, f64)>,
    target: f64,
}

fn dot(terms: &[(usize, f64)], weights: &[f64]) -> f64 {
    terms
        .iter()
        .map(|(place, term)| term * weights[*place])
        .sum()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Penalised negative log-likelihood.
fn loss(rows: &[Row], ridge: &[f64], weights: &[f64]) -> f64 {
    let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
    let of_rows: f64 = rows
        .iter()
        .map(|row| {
            let logit = dot(&row.terms, weights);
            softplus(logit) - row.target * logit
        })
        .sum();
    let of_weights: f64 = ridge
        .iter()
        .zip(weights)
        .map(|(ridge, weight)| ridge * weight * weight)
        .sum();
    of_rows + of_weights / 2.0
}

/// Gradient and Hessian of [`loss`], the latter as rows.
fn slope(rows: &[Row], ridge: &[f64], weights: &[f64]) -> (Vec<f64>, Vec<Vec<f64>>) {
    let mut gradient: Vec<f64> = ridge
        .iter()
        .zip(weights)
        .map(|(ridge, weight)| ridge * weight)
        .collect();
    let mut hessian = vec![vec![0.0; weights.len()]; weights.len()];
    for (place, ridge) in ridge.iter().enumerate() {
        hessian[place][place] = *ridge;
    }
    for row in rows {
        let q = sigmoid(dot(&row.terms, weights));
        for (place, term) in &row.terms {
            gradient[*place] += (q - row.target) * term;
            for (other, factor) in &row.terms {
                hessian[*place][*other] += q * (1.0 - q) * term * factor;
            }
        }
    }
    (gradient, hessian)
}

/// Weights of the least loss, by Newton's steps, each halved until it is one down.
fn fit(rows: &[Row], ridge: &[f64]) -> Vec<f64> {
    let mut weights = vec![0.0; ridge.len()];
    for _ in 0..STEPS {
        let (gradient, hessian) = slope(rows, ridge, &weights);
        let step = solve(hessian, gradient);
        let before = loss(rows, ridge, &weights);
        let moved = |share: f64| -> Vec<f64> {
            weights
                .iter()
                .zip(&step)
                .map(|(weight, step)| weight - share * step)
                .collect()
        };
        let mut share = 1.0;
        while share > 1e-6 && loss(rows, ridge, &moved(share)) > before {
            share /= 2.0;
        }
        weights = moved(share);
        if step.iter().all(|step| step.abs() < 1e-12) {
            break;
        }
    }
    weights
}

/// `matrix^-1 vector` by Cholesky's factors; the ridge makes the matrix positive definite.
fn solve(mut matrix: Vec<Vec<f64>>, mut vector: Vec<f64>) -> Vec<f64> {
    let n = vector.len();
    for row in 0..n {
        for column in 0..=row {
            let (above, below) = matrix.split_at_mut(row);
            let done = if column < row {
                &above[column]
            } else {
                &below[0]
            };
            let sum: f64 = (0..column).map(|k| below[0][k] * done[k]).sum();
            let left = below[0][column] - sum;
            below[0][column] = if column < row {
                left / done[column]
            } else {
                left.sqrt()
            };
        }
    }
    for row in 0..n {
        let sum: f64 = (0..row).map(|k| matrix[row][k] * vector[k]).sum();
        vector[row] = (vector[row] - sum) / matrix[row][row];
    }
    for row in (0..n).rev() {
        let sum: f64 = (row + 1..n).map(|k| matrix[k][row] * vector[k]).sum();
        vector[row] = (vector[row] - sum) / matrix[row][row];
    }
    vector
}

#[cfg(test)]
mod tests;
