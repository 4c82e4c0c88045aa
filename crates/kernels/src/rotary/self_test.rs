//! The rotation in f64, and its cases.

use super::RotaryProblem;
use crate::backend::SsmBackend;
use crate::self_test::single_output::{Case, Operation};
use crate::self_test::tape::Var;
use burn::tensor::ops::{FloatTensor, FloatTensorOps};

impl Operation<1> for RotaryProblem {
    fn label(&self) -> String {
        let Self {
            batch,
            seq,
            heads,
            head_dim,
            own_angles,
            ..
        } = self;
        let angles = if *own_angles { " own angles" } else { "" };
        format!("b{batch} l{seq} h{heads} of {head_dim}{angles}")
    }

    fn names(&self) -> [&'static str; 1] {
        ["x"]
    }

    fn shapes(&self) -> [Option<Vec<usize>>; 1] {
        [Some(vec![self.batch, self.seq, self.heads * self.head_dim])]
    }

    /// The angles' rows stand in the place of the documents.
    fn documents_shape(&self) -> [usize; 2] {
        [self.rows(), self.seq * self.head_dim]
    }

    fn public_forward<B: SsmBackend>(
        &self,
        [x]: [FloatTensor<B>; 1],
        angles: Option<FloatTensor<B>>,
    ) -> FloatTensor<B> {
        B::rotary(x, angles_of::<B>(angles, self), self)
    }

    fn naive(&self, [x]: &[Vec<Var>; 1], angles: Option<&[f32]>) -> Vec<Var> {
        let angles = angles.expect("every case has angles");
        let (half, mut out) = (self.head_dim / 2, Vec::with_capacity(x.len()));
        for batch in 0..self.batch {
            for head in 0..self.heads {
                for step in 0..self.seq {
                    let row = batch % self.rows() * self.seq + step;
                    let angle = |at: usize| f64::from(angles[row * self.head_dim + at]);
                    let from = ((batch * self.seq + step) * self.heads + head) * self.head_dim;
                    for at in 0..self.head_dim {
                        let pair = at % half;
                        let (cos, sin) = (angle(pair), angle(half + pair));
                        let (first, second) = (x[from + pair], x[from + half + pair]);
                        out.push(match at < half {
                            true => first.scale(cos) + second.scale(-sin),
                            false => second.scale(cos) + first.scale(sin),
                        });
                    }
                }
            }
        }
        out
    }
}

impl RotaryProblem {
    /// Sequences with angles of their own.
    fn rows(&self) -> usize {
        if self.own_angles { self.batch } else { 1 }
    }
}

/// `[rows, seq, head_dim]` from what a case holds as rows of numbers.
pub(super) fn angles_of<B: SsmBackend>(
    angles: Option<FloatTensor<B>>,
    p: &RotaryProblem,
) -> FloatTensor<B> {
    let angles = angles.expect("every case has angles");
    <B as FloatTensorOps<B>>::float_reshape(angles, [p.rows(), p.seq, p.head_dim].into())
}

/// Lengths off every grid, heads of one pair and more, angles of all sequences and of each.
pub(crate) fn cases() -> Vec<Case<RotaryProblem, 1>> {
    let mut cases = Vec::new();
    let mut add = |[batch, seq, heads, head_dim]: [usize; 4]| {
        for own_angles in [false, true] {
            let problem = RotaryProblem {
                batch,
                seq,
                heads,
                head_dim,
                own_angles: own_angles && batch > 1,
                is_inverse: false,
            };
            let half = head_dim / 2;
            let angles = (0..problem.rows() * seq).flat_map(|row| {
                let angle = move |pair: usize| (row as f32 + 0.3) * 0.7f32.powi(pair as i32);
                let cos = (0..half).map(move |pair| angle(pair).cos());
                cos.chain((0..half).map(move |pair| angle(pair).sin()))
            });
            cases.push(Case {
                reset: Some(angles.collect()),
                ..Case::seeded(problem, 1)
            });
        }
    };
    for seq in [1, 3, 63, 65, 130, 333] {
        add([2, seq, 3, 8]);
    }
    add([2, 5, 1, 2]);
    add([3, 7, 2, 6]);
    add([2, 33, 9, 64]);
    add([1, 17, 2, 36]);
    cases
}
