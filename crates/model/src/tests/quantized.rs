//! Projections held in 8 bits, against weights rounded by hand.

use burn::tensor::{Tensor, TensorData};

use super::fixtures::{Inner, root_mean_square, some_tokens};
use super::laws::models;
use crate::HybridModel;

/// `values` `[out, in]` as 32 outputs of each input, whose largest becomes 127, hold them.
fn rounded(values: &[f32], shape: &[usize]) -> Vec<f32> {
    let [outputs, inputs] = [shape[0], shape[1]];
    let mut held = values.to_vec();
    for input in 0..inputs {
        for first in (0..outputs).step_by(32) {
            let places = (first..first + 32).map(|output| output * inputs + input);
            let largest = places
                .clone()
                .map(|at| values[at].abs())
                .fold(0.0, f32::max);
            let scale = largest / 127.0;
            for at in places {
                held[at] = scale * (values[at] / scale).round();
            }
        }
    }
    held
}

#[test]
fn quantized_projections_compute_what_the_rounded_weights_do() {
    for (name, model) in models() {
        let mut changed = 0;
        let tensors = model.named_tensors().into_iter().map(|(key, data)| {
            let shape = data.shape.to_vec();
            let is_held = key.ends_with("_proj.weight")
                && !key.contains(".dt_proj.")
                && shape[0].is_multiple_of(32);
            if !is_held {
                return (key, data);
            }
            changed += 1;
            let values: Vec<f32> = data.into_vec().unwrap();
            (key, TensorData::new(rounded(&values, &shape), shape))
        });
        let by_hand =
            HybridModel::<Inner>::load_named(model.config(), tensors, &Default::default());
        let by_hand = by_hand.unwrap();
        assert!(changed > 8, "{name}: {changed}");
        let quantized = model.clone().with_projections_in_int8();
        let tokens = some_tokens(2, 9, 97);
        let run = |model: &HybridModel<Inner>| -> Vec<f64> {
            let mut cache = model.new_cache(2, 9);
            let parts = [(0, 6), (6, 1), (7, 2)].map(|(start, length)| {
                model.forward_cached(tokens.clone().narrow(1, start, length), &mut cache)
            });
            let cached = Tensor::cat(parts.into(), 1);
            let whole = model.forward(tokens.clone());
            Tensor::cat(vec![cached, whole], 1)
                .into_data()
                .iter::<f64>()
                .collect()
        };
        let (found, expected, exact) = (run(&quantized), run(&by_hand), run(&model));
        let off = |from: &[f64]| {
            let pairs = found.iter().zip(from);
            let differences: Vec<f64> = pairs.map(|(a, b)| a - b).collect();
            root_mean_square(&differences) / root_mean_square(from)
        };
        assert!(off(&expected) < 1e-5, "{name}: {}", off(&expected));
        let error = off(&exact);
        assert!((1e-4..0.1).contains(&error), "{name}: {error}");
    }
}
