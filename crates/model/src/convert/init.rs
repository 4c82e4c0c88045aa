//! Fresh values (method 2.4 and 2.5), the same on every backend.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// The generator of one tensor: its stream is the name, so no tensor depends on another.
fn generator(seed: u64, key: &str) -> ChaCha8Rng {
    let mut stream = 0xcbf2_9ce4_8422_2325_u64;
    for byte in key.bytes() {
        stream = (stream ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(stream);
    generator
}

/// A number in [0, 1), a multiple of 2^-24.
fn unit(generator: &mut ChaCha8Rng) -> f64 {
    f64::from(generator.next_u32() >> 8) / f64::from(1 << 24)
}

fn uniform(generator: &mut ChaCha8Rng, bound: f64, count: usize) -> Vec<f32> {
    (0..count)
        .map(|_| ((2.0 * unit(generator) - 1.0) * bound) as f32)
        .collect()
}

/// Box-Muller, two numbers a draw.
fn normal(generator: &mut ChaCha8Rng, deviation: f64, count: usize) -> Vec<f32> {
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        let radius = deviation * (-2.0 * (1.0 - unit(generator)).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * unit(generator)).sin_cos();
        values.push((radius * cos) as f32);
        values.push((radius * sin) as f32);
    }
    values.truncate(count);
    values
}

/// Biases whose softplus is log-uniform in [1e-3, 1e-1].
fn step_size_bias(generator: &mut ChaCha8Rng, count: usize) -> Vec<f32> {
    let (low, high) = (1e-3_f64.ln(), 1e-1_f64.ln());
    (0..count)
        .map(|_| {
            let dt = (low + (high - low) * unit(generator)).exp().max(1e-4);
            (dt + (-(-dt).exp_m1()).ln()) as f32
        })
        .collect()
}

/// A fresh value for `key` as a converted layer gets it: PyTorch's default for projections, zeros for their biases, ones
/// for norms, and the tables of method 2.4 and 2.5 for SSM parameters. `shape` is that of a file.
pub(crate) fn fresh_value(seed: u64, key: &str, shape: &[usize], d_conv: usize) -> Vec<f32> {
    let count = shape.iter().product();
    let generator = &mut generator(seed, key);
    let fan_in = match shape {
        [_, fan_in] => *fan_in,
        _ => d_conv,
    };
    let ends = |suffix: &str| key.ends_with(suffix);
    if ends("norm.weight") || ends(".D") {
        vec![1.0; count]
    } else if ends(".A_log") {
        match shape {
            [_, d_state] => (0..count)
                .map(|i| ((i % d_state + 1) as f64).ln() as f32)
                .collect(),
            _ => (0..count)
                .map(|_| (1.0 + 15.0 * unit(generator)).ln() as f32)
                .collect(),
        }
    } else if ends(".dt_bias") || ends(".dt_proj.bias") {
        step_size_bias(generator, count)
    } else if key.contains("_proj") && ends(".bias") {
        vec![0.0; count]
    } else {
        uniform(generator, (fan_in as f64).powf(-0.5), count)
    }
}

/// A value for `key` in a model that starts from nothing: as [`fresh_value`], but normal with
/// deviation 0.02 for the embedding, the head and the projections outside SSM mixers.
pub(crate) fn random_value(seed: u64, key: &str, shape: &[usize], d_conv: usize) -> Vec<f32> {
    if key.contains(".mamba.") || key.ends_with("norm.weight") {
        return fresh_value(seed, key, shape, d_conv);
    }
    normal(&mut generator(seed, key), 0.02, shape.iter().product())
}
