//! The mixers of method 2.4 and 2.5 as loops in `f64`, one sequence at a time.

use std::collections::BTreeMap;

use crate::config::{GqaRepeat, LlamaConfig, MixerKind, SsmConfig};

/// Parameters in file layout under their names inside the mixer.
pub(super) type Weights = BTreeMap<String, Vec<f64>>;
type Rows = Vec<Vec<f64>>;

fn linear(weight: &[f64], x: &[f64]) -> Vec<f64> {
    weight
        .chunks(x.len())
        .map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum())
        .collect()
}

/// [`linear`] by the weight `name`, and the bias of that name if there is one.
fn project(w: &Weights, name: &str, x: &[f64]) -> Vec<f64> {
    let mut y = linear(&w[&format!("{name}.weight")], x);
    if let Some(bias) = w.get(&format!("{name}.bias")) {
        y.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
    }
    y
}

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

fn softplus(x: f64) -> f64 {
    x.exp().ln_1p()
}

fn repeat(x: &[f64], width: usize, times: usize) -> Vec<f64> {
    x.chunks(width)
        .flat_map(|piece| piece.repeat(times))
        .collect()
}

fn convolve(weight: &[f64], bias: &[f64], x: &Rows, width: usize) -> Rows {
    let at = |t: usize, channel: usize, tap: usize| match (t + tap).checked_sub(width - 1) {
        Some(source) => x[source][channel],
        None => 0.0,
    };
    (0..x.len())
        .map(|t| {
            (0..bias.len())
                .map(|channel| {
                    let taps =
                        (0..width).map(|tap| weight[channel * width + tap] * at(t, channel, tap));
                    silu(bias[channel] + taps.sum::<f64>())
                })
                .collect()
        })
        .collect()
}

/// The mixer of `ssm` applied to `h`, `[seq][d_model]`.
pub(super) fn mixer(w: &Weights, llama: &LlamaConfig, ssm: &SsmConfig, h: &Rows) -> Rows {
    match ssm.mixer {
        MixerKind::Mamba1 => mamba1(w, llama, ssm, h),
        _ => mamba2(w, llama, ssm, h),
    }
}

fn mamba1(w: &Weights, llama: &LlamaConfig, ssm: &SsmConfig, h: &Rows) -> Rows {
    let (d_inner, n) = (llama.d_inner(), ssm.d_state);
    let width = if ssm.gqa_repeat == GqaRepeat::ChunkN {
        n
    } else {
        llama.head_dim
    };
    let widen = |x: &Vec<f64>| repeat(x, width, llama.heads_per_kv());
    let project = |name: &str| h.iter().map(|h| project(w, name, h)).collect::<Rows>();

    let mut x = project("in_proj_x");
    if ssm.repeat_kv_before_conv {
        x = x.iter().map(widen).collect();
    }
    x = convolve(&w["conv1d.weight"], &w["conv1d.bias"], &x, ssm.d_conv);
    if !ssm.repeat_kv_before_conv {
        x = x.iter().map(widen).collect();
    }
    let b: Rows = project("B_proj").iter().map(widen).collect();
    let (c, z, down) = (
        project("C_proj"),
        project("in_proj_z"),
        project("dt_proj_down"),
    );

    let mut state = vec![0.0; d_inner * n];
    let mut out = Vec::new();
    for t in 0..h.len() {
        let dt = linear(&w["dt_proj.weight"], &down[t]);
        let mut y = vec![0.0; d_inner];
        for channel in 0..d_inner {
            let bias = w["dt_proj.bias"][channel] * f64::from(ssm.dt_bias_multiplicity);
            let dt = softplus(dt[channel] + bias);
            let group = channel / n * n;
            let mut read = w["D"][channel] * x[t][channel];
            for m in 0..n {
                let a = -w["A_log"][channel * n + m].exp();
                let s = &mut state[channel * n + m];
                *s = *s * (dt * a).exp() + dt * b[t][group + m] * x[t][channel];
                read += c[t][group + m] * *s;
            }
            y[channel] = read * silu(z[t][channel]);
        }
        out.push(linear(&w["out_proj.weight"], &y));
    }
    out
}

fn mamba2(w: &Weights, llama: &LlamaConfig, ssm: &SsmConfig, h: &Rows) -> Rows {
    let (heads, p) = (llama.n_heads, llama.head_dim);
    let (d_inner, d_xb) = (llama.d_inner(), llama.d_xb());
    let widen = |x: &[f64]| repeat(x, p, llama.heads_per_kv());
    let rows: Rows = h.iter().map(|h| project(w, "in_proj", h)).collect();
    let mut xbc: Rows = rows
        .iter()
        .map(|row| row[d_inner..2 * d_inner + 2 * d_xb].to_vec())
        .collect();
    let split = |xbc: &Vec<f64>| {
        let (x, rest) = xbc.split_at(d_xb);
        let (b, c) = rest.split_at(d_xb);
        [widen(x), widen(b), c.to_vec()].concat()
    };
    if ssm.repeat_kv_before_conv {
        xbc = xbc.iter().map(split).collect();
    }
    xbc = convolve(&w["conv1d.weight"], &w["conv1d.bias"], &xbc, ssm.d_conv);
    if !ssm.repeat_kv_before_conv {
        xbc = xbc.iter().map(split).collect();
    }

    let mut state = vec![0.0; d_inner * p];
    let mut out = Vec::new();
    for t in 0..h.len() {
        let mut y = vec![0.0; d_inner];
        for head in 0..heads {
            let dt = softplus(rows[t][2 * d_inner + 2 * d_xb + head] + w["dt_bias"][head]);
            let decay = (-w["A_log"][head].exp() * dt).exp();
            let mut square = 0.0;
            for i in head * p..(head + 1) * p {
                let x = xbc[t][i];
                let mut read = w["D"][head] * x;
                for m in 0..p {
                    let s = &mut state[i * p + m];
                    *s = *s * decay + dt * x * xbc[t][d_inner + head * p + m];
                    read += *s * xbc[t][2 * d_inner + head * p + m];
                }
                y[i] = read * silu(rows[t][i]);
                square += y[i] * y[i] / p as f64;
            }
            for i in head * p..(head + 1) * p {
                y[i] *= w["norm.weight"][i] / (square + 1e-5).sqrt();
            }
        }
        out.push(linear(&w["out_proj.weight"], &y));
    }
    out
}
