//! Sums that are the same each time.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// Sum of all elements, `[1]`, in an order that the shape alone decides.
///
/// burn's own `sum` adds up parts of a tensor atomically on GPUs (cubek-reduce, `shared_sum`), in whichever order they are
/// finished: two equal runs would clip gradients by norms that differ in their last bits. Sums over a dimension have one order.
pub fn total<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Tensor<B, 1> {
    let dims = tensor.dims();
    let width = dims[D - 1];
    let rows: usize = dims[..D - 1].iter().product();
    if rows * width == 0 {
        return Tensor::zeros([1], &tensor.device());
    }
    let of_rows = tensor.reshape([rows, width]).sum_dim(1);
    of_rows.reshape([1, rows]).sum_dim(1).reshape([1])
}

#[cfg(test)]
mod tests {
    use burn::backend::{Autodiff, Flex};
    use burn::tensor::{Int, Tensor};

    use super::*;

    #[test]
    fn every_element_counts_once_and_takes_the_gradient() {
        let device = Default::default();
        let values = Tensor::<Autodiff<Flex>, 1, Int>::arange(1..25, &device).float();
        let x = values.require_grad();
        for sum in [
            total(x.clone().reshape([2, 3, 4])),
            total(x.clone().reshape([24, 1])),
            total(x.clone()),
        ] {
            assert_eq!(sum.clone().into_data().to_vec::<f32>().unwrap(), [300.0]);
            let gradients = sum.mul_scalar(3.0).backward();
            let gradient = x.grad(&gradients).expect("tracked").into_data();
            assert_eq!(gradient.to_vec::<f32>().unwrap(), [3.0; 24]);
        }
        let empty = Tensor::<Flex, 2>::zeros([0, 4], &device);
        assert_eq!(total(empty).into_data().to_vec::<f32>().unwrap(), [0.0]);
    }
}
