//! A unit for each vector.

use cubecl::prelude::*;

/// Numbers of a step on the device.
#[derive(CubeType, CubeLaunch)]
pub(super) struct Numbers {
    pub(super) lr: f32,
    pub(super) kept: f32,
    pub(super) beta_1: f32,
    pub(super) beta_2: f32,
    pub(super) epsilon: f32,
    /// Inverses of the corrections.
    pub(super) scale_1: f32,
    pub(super) scale_2: f32,
}

/// `total` vectors.
#[cube(launch_unchecked)]
pub(super) fn adamw_step<N: Size>(
    parameter: &Tensor<Vector<f32, N>>,
    gradient: &Tensor<Vector<f32, N>>,
    moment_1: &Tensor<Vector<f32, N>>,
    moment_2: &Tensor<Vector<f32, N>>,
    new_parameter: &mut Tensor<Vector<f32, N>>,
    new_moment_1: &mut Tensor<Vector<f32, N>>,
    new_moment_2: &mut Tensor<Vector<f32, N>>,
    numbers: &Numbers,
    total: usize,
) {
    let at = ABSOLUTE_POS;
    if at < total {
        let g = gradient[at];
        let left_1 = Vector::new(1.0f32 - numbers.beta_1);
        let left_2 = Vector::new(1.0f32 - numbers.beta_2);
        let first = moment_1[at] * Vector::new(numbers.beta_1) + g * left_1;
        let second = moment_2[at] * Vector::new(numbers.beta_2) + g * g * left_2;
        let root = (second * Vector::new(numbers.scale_2)).sqrt() + Vector::new(numbers.epsilon);
        let delta = first * Vector::new(numbers.scale_1) / root;
        let kept = parameter[at] * Vector::new(numbers.kept);
        new_parameter[at] = kept - delta * Vector::new(numbers.lr);
        new_moment_1[at] = first;
        new_moment_2[at] = second;
    }
}
