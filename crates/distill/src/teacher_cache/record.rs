//! Labels as bytes: the ids of the likeliest tokens, u32 each, their log-probabilities, f16 each, from the likeliest on, and
//! the logarithm of the mass of all other tokens, f16; little endian.
use half::f16;

use super::Truncation;

/// The logarithm of no mass: what a bucket is never below.
const LEAST_LOG_MASS: f32 = -60.0;

/// The likeliest tokens of some labels, in the order of the labels.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Records {
    /// `[labels * k]`.
    pub ids: Vec<i32>,
    /// `[labels * k]`.
    pub log_probs: Vec<f32>,
    /// `[labels]`.
    pub log_residuals: Vec<f32>,
}

/// Bytes of a label.
pub(super) fn record_bytes(k: usize) -> usize {
    6 * k + 2
}

/// Appends a label by its log-probabilities over the vocabulary; what is left out is measured where it `is_measured`.
pub(super) fn encode(
    log_probs: &[f32],
    k: usize,
    is_measured: bool,
    bytes: &mut Vec<u8>,
) -> Truncation {
    let by_size = |a: &u32, b: &u32| {
        let of = |id: &u32| log_probs[*id as usize];
        // Of equals the one that stands first, whatever the order of the search.
        of(b).total_cmp(&of(a)).then(a.cmp(b))
    };
    let mut ids: Vec<u32> = (0..log_probs.len() as u32).collect();
    if k < ids.len() {
        ids.select_nth_unstable_by(k, by_size);
    }
    let (top, rest) = ids.split_at_mut(k.min(log_probs.len()));
    top.sort_unstable_by(by_size);
    rest.sort_unstable();
    let log_prob = |id: u32| log_probs[id as usize];
    let residual: f64 = rest.iter().map(|id| f64::from(log_prob(*id).exp())).sum();
    let log_residual = f16::from_f32((residual.ln() as f32).max(LEAST_LOG_MASS));
    let short = |id: u32| f16::from_f32(log_prob(id).max(LEAST_LOG_MASS));
    bytes.extend(top.iter().flat_map(|id| id.to_le_bytes()));
    bytes.extend(top.iter().flat_map(|id| short(*id).to_le_bytes()));
    bytes.extend(log_residual.to_le_bytes());
    if !is_measured {
        return Truncation::default();
    }
    let share = f64::from(log_residual.to_f32()) - (rest.len().max(1) as f64).ln();
    let term = |id: u32, kept: f64| {
        let exact = f64::from(log_prob(id));
        exact.exp() * (exact - kept)
    };
    let of_top = top
        .iter()
        .map(|id| term(*id, f64::from(short(*id).to_f32())));
    let of_rest = rest.iter().map(|id| term(*id, share));
    Truncation {
        labels: 1,
        residual,
        kl: of_top.chain(of_rest).sum(),
    }
}

impl Records {
    /// Appends the labels in `bytes`, which have `stored` tokens each, with the `k` likeliest of them; the mass of the others
    /// goes to the rest.
    pub(super) fn decode(&mut self, bytes: &[u8], stored: usize, k: usize) {
        for record in bytes.chunks_exact(record_bytes(stored)) {
            let (ids, floats) = record.split_at(4 * stored);
            let id = |bytes: &[u8]| i32::from_le_bytes(bytes.try_into().expect("chunks of four"));
            self.ids.extend(ids.chunks_exact(4).take(k).map(id));
            let float = |bytes: &[u8]| f16::from_le_bytes([bytes[0], bytes[1]]).to_f32();
            let mut floats = floats.chunks_exact(2).map(float);
            self.log_probs.extend(floats.by_ref().take(k));
            let mass: f64 = floats.map(|log_mass| f64::from(log_mass).exp()).sum();
            self.log_residuals.push(mass.ln() as f32);
        }
    }

    /// Appends labels that count for nothing until there are `labels`: no more than there are can be asked of.
    pub(crate) fn pad(&mut self, labels: usize, k: usize) {
        while self.log_residuals.len() < labels {
            self.ids.extend(0..k as i32);
            self.log_probs.extend(vec![LEAST_LOG_MASS; k]);
            self.log_residuals.push(0.0);
        }
    }

    /// Appends those of another.
    pub(crate) fn extend(&mut self, other: &Self) {
        self.ids.extend_from_slice(&other.ids);
        self.log_probs.extend_from_slice(&other.log_probs);
        self.log_residuals.extend_from_slice(&other.log_residuals);
    }
}
