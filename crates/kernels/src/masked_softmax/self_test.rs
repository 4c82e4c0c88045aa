//! The masked softmax in f64, and its cases.

use super::MaskedSoftmaxProblem;
use crate::backend::SsmBackend;
use crate::self_test::single_output::{Case, Operation};
use crate::self_test::tape::Var;
use burn::tensor::ops::FloatTensor;

impl Operation<1> for MaskedSoftmaxProblem {
    fn label(&self) -> String {
        let Self {
            batch,
            heads,
            rows,
            keys,
            seq,
            past,
            ..
        } = self;
        let stack = rows / seq;
        format!("b{batch} h{heads} of {stack} l{seq} after {past} k{keys}")
    }

    fn names(&self) -> [&'static str; 1] {
        ["scores"]
    }

    fn shapes(&self) -> [Option<Vec<usize>>; 1] {
        [Some(vec![self.batch, self.heads, self.rows, self.keys])]
    }

    fn documents_shape(&self) -> [usize; 2] {
        [self.batch, self.seq]
    }

    fn public_forward<B: SsmBackend>(
        &self,
        [scores]: [FloatTensor<B>; 1],
        first: Option<FloatTensor<B>>,
    ) -> FloatTensor<B> {
        B::masked_softmax_forward(scores, first, self)
    }

    fn naive(&self, [scores]: &[Vec<Var>; 1], first: Option<&[f32]>) -> Vec<Var> {
        let mut weights = vec![Var::ZERO; scores.len()];
        for batch in 0..self.batch {
            for row in 0..self.heads * self.rows {
                let start = (batch * self.heads * self.rows + row) * self.keys;
                let query = row % self.seq;
                let own = self.past + query;
                let from = first.map_or(0, |first| first[batch * self.seq + query] as usize);
                let visible = start + from..=start + own;
                let scaled: Vec<Var> = scores[visible.clone()]
                    .iter()
                    .map(|score| score.scale(self.scale))
                    .collect();
                let largest = scaled.iter().map(|score| score.value);
                let largest = largest.fold(f64::NEG_INFINITY, f64::max);
                let mut sum = Var::ZERO;
                let mut terms = Vec::with_capacity(scaled.len());
                for score in scaled {
                    let term = (score + Var::constant(-largest)).exp();
                    sum += term;
                    terms.push(term);
                }
                let root = sum.inverse_sqrt();
                for (weight, term) in weights[visible].iter_mut().zip(terms) {
                    *weight = term * root * root;
                }
            }
        }
        weights
    }
}

/// `[batch, heads, stack, seq]` after `past` tokens, with `room` keys that none sees.
pub(super) fn problem(
    [batch, heads, stack, seq]: [usize; 4],
    past: usize,
    room: usize,
) -> MaskedSoftmaxProblem {
    MaskedSoftmaxProblem {
        batch,
        heads,
        rows: stack * seq,
        keys: past + seq + room,
        seq,
        past,
        scale: 0.375,
    }
}

/// First visible keys for documents of 1, 2, 3 and more tokens, shifted from sequence to sequence.
pub(super) fn documents(p: &MaskedSoftmaxProblem) -> Vec<f32> {
    let starts = |row: usize, t: usize| matches!((t + row) % 37, 3 | 4 | 6 | 9 | 20);
    let mut first = Vec::with_capacity(p.batch * p.seq);
    for row in 0..p.batch {
        let mut start = 0;
        for t in 0..p.seq {
            if starts(row, t) {
                start = p.past + t;
            }
            first.push(start as f32);
        }
    }
    first
}

/// Lengths off every grid, stacked heads, tokens before, room after, documents, scores far apart.
pub(crate) fn cases() -> Vec<Case<MaskedSoftmaxProblem, 1>> {
    let mut cases = Vec::new();
    let mut add = |sizes: [usize; 4], past: usize, room: usize| {
        let problem = problem(sizes, past, room);
        let case = Case::seeded(problem, 1);
        let reset = Some(documents(&problem));
        cases.push(case.clone());
        cases.push(Case { reset, ..case });
    };
    add([2, 3, 1, 1], 0, 0);
    add([1, 2, 3, 1], 7, 8);
    add([2, 2, 3, 5], 7, 4);
    add([2, 2, 1, 63], 0, 0);
    add([2, 1, 2, 64], 0, 0);
    add([1, 2, 1, 65], 0, 0);
    add([1, 2, 3, 130], 0, 0);
    add([1, 1, 2, 33], 7, 0);
    add([1, 1, 3, 3], 1100, 1);
    add([1, 1, 1, 20], 300, 16);
    for seq in [31, 64] {
        let far = MaskedSoftmaxProblem {
            scale: 0.125,
            ..problem([1, 2, 1, seq], 0, 0)
        };
        let mut case = Case::seeded(far, 2);
        for (index, score) in case.operands[0].iter_mut().enumerate() {
            *score += if index % 3 == 0 { 1e4 } else { -1e4 };
        }
        cases.push(case);
    }
    cases
}
