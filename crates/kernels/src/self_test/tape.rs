//! Reverse-mode differentiation of f64 loops: the definition of an operation gives its gradients too.

use std::cell::RefCell;
use std::ops::{Add, AddAssign, Mul};

/// Up to two inputs of a number, with the derivative by each.
type Node = [(u32, f64); 2];

/// Stands for a number that nothing is differentiated by.
const CONSTANT: u32 = u32::MAX;

thread_local! {
    static NODES: RefCell<Vec<Node>> = const { RefCell::new(Vec::new()) };
}

/// A number on the tape of this thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Var {
    index: u32,
    pub(crate) value: f64,
}

impl Var {
    pub(crate) const ZERO: Self = Self::constant(0.0);

    pub(crate) const fn constant(value: f64) -> Self {
        Self {
            index: CONSTANT,
            value,
        }
    }

    fn record(value: f64, node: Node) -> Self {
        if node.iter().all(|&(index, _)| index == CONSTANT) {
            return Self::constant(value);
        }
        let index = NODES.with_borrow_mut(|nodes| {
            nodes.push(node);
            nodes.len() - 1
        });
        let index = u32::try_from(index).expect("fewer than 2^32 operations");
        Self { index, value }
    }

    fn map(self, value: f64, derivative: f64) -> Self {
        Self::record(value, [(self.index, derivative), (CONSTANT, 0.0)])
    }

    pub(crate) fn exp(self) -> Self {
        let value = self.value.exp();
        self.map(value, value)
    }

    pub(crate) fn softplus(self) -> Self {
        self.map(self.value.exp().ln_1p(), sigmoid(self.value))
    }

    pub(crate) fn silu(self) -> Self {
        let (x, s) = (self.value, sigmoid(self.value));
        self.map(x * s, s * (1.0 + x * (1.0 - s)))
    }

    /// `1 / sqrt(x)`.
    pub(crate) fn inverse_sqrt(self) -> Self {
        let value = 1.0 / self.value.sqrt();
        self.map(value, -0.5 * value / self.value)
    }

    pub(crate) fn scale(self, factor: f64) -> Self {
        self.map(self.value * factor, factor)
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

impl Add for Var {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let node = [(self.index, 1.0), (other.index, 1.0)];
        Self::record(self.value + other.value, node)
    }
}

impl AddAssign for Var {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Mul for Var {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        let node = [(self.index, other.value), (other.index, self.value)];
        Self::record(self.value * other.value, node)
    }
}

/// Clears the tape of this thread and puts the operands on it.
pub(crate) fn leaves<const N: usize>(operands: &[Vec<f32>; N]) -> [Vec<Var>; N] {
    NODES.with_borrow_mut(Vec::clear);
    let nothing = [(CONSTANT, 0.0); 2];
    operands.each_ref().map(|values| {
        let leaf = |&value: &f32| {
            NODES.with_borrow_mut(|nodes| {
                nodes.push(nothing);
                Var {
                    index: (nodes.len() - 1) as u32,
                    value: f64::from(value),
                }
            })
        };
        values.iter().map(leaf).collect()
    })
}

/// Gradients of the weighted sum of `outputs` by `operands`.
pub(crate) fn gradients<const N: usize>(
    operands: &[Vec<Var>; N],
    outputs: impl Iterator<Item = (Var, f32)>,
) -> [Vec<f64>; N] {
    NODES.with_borrow(|nodes| {
        let mut adjoints = vec![0.0; nodes.len()];
        for (output, weight) in outputs {
            if output.index != CONSTANT {
                adjoints[output.index as usize] += f64::from(weight);
            }
        }
        for index in (0..nodes.len()).rev() {
            for &(input, derivative) in &nodes[index] {
                if input != CONSTANT {
                    adjoints[input as usize] += derivative * adjoints[index];
                }
            }
        }
        (operands.each_ref())
            .map(|values| values.iter().map(|v| adjoints[v.index as usize]).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_are_those_of_differences() {
        let f = |x: Var, y: Var| {
            let mut sum = (x * y).exp() + x.softplus() * y.silu();
            sum += (x * x + Var::constant(0.5)).inverse_sqrt() * y.scale(3.0);
            sum
        };
        let (x, y) = (0.75, -1.25);
        let operands = leaves(&[vec![x], vec![y]]);
        let output = f(operands[0][0], operands[1][0]);
        let got = gradients(&operands, std::iter::once((output, 2.0)));
        let at = |dx: f64, dy: f64| {
            let [x, y] = [f64::from(x) + dx, f64::from(y) + dy];
            2.0 * f(Var::constant(x), Var::constant(y)).value
        };
        let step = 1e-6;
        let expected = [
            at(step, 0.0) - at(-step, 0.0),
            at(0.0, step) - at(0.0, -step),
        ];
        for (got, difference) in got.iter().zip(expected) {
            assert!((got[0] - difference / (2.0 * step)).abs() < 1e-8);
        }
    }
}
