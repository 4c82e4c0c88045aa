//! burn's AdamW with one kernel a tensor.

use burn::optim::{AdamWState, AdaptiveMomentumState, LearningRate, SimpleOptimizer};
use burn::tensor::{Device, Tensor};
use kernels::{AdamwStep, SsmBackend, adamw};

/// The update of burn's `AdamW`, with its state, computed by [`kernels::adamw()`]. Epsilon is 1e-8.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FusedAdamW {
    /// Decays of the moments.
    pub betas: [f32; 2],
    /// Decoupled weight decay.
    pub weight_decay: f32,
}

impl<B: SsmBackend> SimpleOptimizer<B> for FusedAdamW {
    type State<const D: usize> = AdamWState<B, D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<B, D>,
        grad: Tensor<B, D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<B, D>, Option<Self::State<D>>) {
        let momentum = match state {
            Some(state) => state.momentum,
            None => {
                let zeros = grad.zeros_like();
                AdaptiveMomentumState::new(0, zeros.clone(), zeros)
            }
        };
        let time = momentum.time + 1;
        let step = AdamwStep {
            lr,
            beta_1: self.betas[0],
            beta_2: self.betas[1],
            epsilon: 1e-8,
            weight_decay: self.weight_decay,
            time,
        };
        let moments = [momentum.moment_1, momentum.moment_2];
        let out = adamw(tensor, grad, moments, &step)
            .expect("a parameter has elements, and its gradient and moments have its shape");
        let momentum = AdaptiveMomentumState::new(time, out.moment_1, out.moment_2);
        (out.parameter, Some(AdamWState::new(momentum)))
    }

    fn to_device<const D: usize>(mut state: Self::State<D>, device: &Device<B>) -> Self::State<D> {
        state.momentum = state.momentum.to_device(device);
        state
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;
    use burn::optim::AdamWConfig;

    use super::*;

    #[test]
    fn an_update_is_that_of_burn_to_the_bit() {
        let device = Default::default();
        let config = AdamWConfig::new().with_beta_2(0.98).with_epsilon(1e-8);
        for weight_decay in [0.0, 0.1] {
            let burns = config.clone().with_weight_decay(weight_decay).build();
            let ours = FusedAdamW {
                betas: [0.9, 0.98],
                weight_decay,
            };
            let values: Vec<f32> = (0..35).map(|i| (i as f32 * 0.7).sin()).collect();
            let start = Tensor::<Flex, 1>::from_floats(&values[..], &device).reshape([5, 7]);
            let (mut a, mut b) = ((start.clone(), None), (start, None));
            for step in 1..5 {
                let lr = 1e-2 / f64::from(step);
                let gradient = a.0.clone().cos().mul_scalar(step);
                a = burns.step(lr, a.0, gradient.clone(), a.1);
                b = SimpleOptimizer::<Flex>::step(&ours, lr, b.0, gradient, b.1);
                let (a, b) = (a.0.to_data(), b.0.to_data());
                assert_eq!(a, b, "step {step}, decay {weight_decay}");
            }
        }
    }
}
