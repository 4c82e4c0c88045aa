//! Golden values made outside this project: the tensors of a file, and the cases in them.

use std::collections::HashMap;

/// A tensor on the host.
#[derive(Clone, Debug)]
pub struct HostTensor {
    /// Sizes of the axes.
    pub shape: Vec<usize>,
    /// Row by row, as many as the shape says.
    pub values: Vec<f64>,
}

impl HostTensor {
    pub(crate) fn floats(&self) -> Vec<f32> {
        self.values.iter().map(|&value| value as f32).collect()
    }

    /// Permutes the axes; axis `i` of the result is axis `axes[i]` of this tensor.
    pub(crate) fn permute(&self, axes: &[usize]) -> Self {
        let mut strides = vec![1; self.shape.len()];
        for axis in (0..self.shape.len() - 1).rev() {
            strides[axis] = strides[axis + 1] * self.shape[axis + 1];
        }
        let shape: Vec<usize> = axes.iter().map(|&axis| self.shape[axis]).collect();
        let values = (0..self.values.len())
            .map(|mut index| {
                let mut offset = 0;
                for (position, &axis) in axes.iter().enumerate().rev() {
                    offset += index % shape[position] * strides[axis];
                    index /= shape[position];
                }
                self.values[offset]
            })
            .collect();
        Self { shape, values }
    }
}

/// Why a file holds no golden values for these operations.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GoldenError {
    /// No operation is tested by such tensors.
    #[error("no tensor `in.u`, `in.x` or `conv.in.prefix`")]
    Foreign,
    /// A tensor that the others call for.
    #[error("no tensor `{0}`")]
    Missing(String),
    /// A tensor of another shape than the others call for.
    #[error("tensor `{name}` has shape {found:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<usize>,
    },
    /// Inputs that do not fit together.
    #[error("the inputs of `{case}` have shapes that do not agree")]
    Inputs {
        /// The case.
        case: String,
    },
}

/// The tensors of a file by name.
#[derive(Clone, Debug, Default)]
pub struct Tensors(pub HashMap<String, HostTensor>);

impl Tensors {
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn get(&self, name: &str) -> Result<&HostTensor, GoldenError> {
        (self.0.get(name)).ok_or_else(|| GoldenError::Missing(name.to_owned()))
    }

    /// Its axes in another order.
    pub(crate) fn permuted(&self, name: &str, axes: &[usize]) -> Result<HostTensor, GoldenError> {
        let tensor = self.get(name)?;
        match tensor.shape.len() == axes.len() {
            true => Ok(tensor.permute(axes)),
            false => Err(wrong_shape(name, tensor)),
        }
    }

    /// Sizes of the axes of a tensor that has `N`, none of them zero.
    pub(crate) fn dims<const N: usize>(&self, name: &str) -> Result<[usize; N], GoldenError> {
        let tensor = self.get(name)?;
        match <[usize; N]>::try_from(&tensor.shape[..]) {
            Ok(dims) if !dims.contains(&0) => Ok(dims),
            _ => Err(wrong_shape(name, tensor)),
        }
    }
}

fn wrong_shape(name: &str, tensor: &HostTensor) -> GoldenError {
    GoldenError::Shape {
        name: name.to_owned(),
        found: tensor.shape.clone(),
    }
}

/// A case and what it must give.
#[derive(Clone, Debug)]
pub(crate) struct GoldenCase<C> {
    pub(crate) name: String,
    pub(crate) case: C,
    pub(crate) expected: Vec<(String, Vec<f64>)>,
}

impl<C> GoldenCase<C> {
    pub(crate) fn new(name: &str, case: C) -> Self {
        Self {
            name: name.to_owned(),
            case,
            expected: Vec::new(),
        }
    }

    pub(crate) fn expect(&mut self, tensor: &str, expected: HostTensor) {
        self.expected.push((tensor.to_owned(), expected.values));
    }

    /// For the operand `index` of an operation with a state.
    pub(crate) fn expect_gradient(&mut self, index: usize, expected: HostTensor) {
        let name = super::state_space::NAMES[index];
        self.expect(&format!("grad.{name}"), expected);
    }

    /// Checks that inputs have as many elements as their shapes say.
    pub(crate) fn check_sizes(
        &self,
        shapes: &[Option<Vec<usize>>],
        operands: &[Vec<f32>],
    ) -> Result<(), GoldenError> {
        let size = |shape: &Option<Vec<usize>>| shape.as_ref().map_or(0, |s| s.iter().product());
        let agree = shapes.iter().map(size).eq(operands.iter().map(Vec::len));
        self.agree(agree)
    }

    /// Checks that the gradient of an output has as many elements as the output.
    pub(crate) fn check_weights(&self, output: usize, gradient: usize) -> Result<(), GoldenError> {
        self.agree(output == gradient)
    }

    fn agree(&self, agree: bool) -> Result<(), GoldenError> {
        match agree {
            true => Ok(()),
            false => Err(GoldenError::Inputs {
                case: self.name.clone(),
            }),
        }
    }
}
