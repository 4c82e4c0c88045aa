//! One token of one sequence, one number at a time in f64.

use super::{Case, Inputs};

/// The equations with a case's weights.
pub(crate) struct Definition<'a> {
    case: &'a Case,
    /// In the order of the packed weights.
    weights: [Vec<f64>; 7],
}

/// What a mixer remembers of one sequence.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Memory {
    /// Last raw inputs of the convolution, oldest first.
    pub(crate) window: Vec<f64>,
    pub(crate) state: Vec<f64>,
}

fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

fn silu(v: f64) -> f64 {
    v / (1.0 + (-v).exp())
}

impl<'a> Definition<'a> {
    pub(crate) fn new(case: &'a Case, inputs: &Inputs) -> Self {
        Self {
            case,
            weights: inputs.weights.each_ref().map(|weights| widen(weights)),
        }
    }

    /// The memory of each sequence before the first token.
    pub(crate) fn memories(&self, inputs: &Inputs) -> Vec<Memory> {
        let (window, state) = (widen(&inputs.window), widen(&inputs.state));
        let batch = self.case.batch;
        let windows = window.chunks_exact(window.len() / batch);
        let states = state.chunks_exact(state.len() / batch);
        (windows.zip(states))
            .map(|(window, state)| Memory {
                window: window.to_vec(),
                state: state.to_vec(),
            })
            .collect()
    }

    /// Repeats pieces until they fill `width`.
    fn repeat(&self, values: &[f64], width: usize) -> Vec<f64> {
        let times = width / values.len();
        let piece = self.case.shape.repeat_width;
        let source = |i: usize| i / (piece * times) * piece + i % piece;
        let source = |i: usize| if times == 1 { i } else { source(i) };
        (0..width).map(|i| values[source(i)]).collect()
    }

    /// Output of a token, whose projections are `row`; the memory is moved on.
    pub(crate) fn step(&self, memory: &mut Memory, row: &[f32]) -> Vec<f64> {
        let (case, s) = (self.case, &self.case.shape);
        let [filter, bias, dt_weight, dt_bias, a, d, norm] = &self.weights;
        let optional = |values: &[f64], index: usize| values.get(index).copied().unwrap_or(0.0);
        let (d_inner, channels) = (case.d_inner(), case.conv_channels());
        let row = widen(row);
        let (z, row) = row.split_at(if s.has_z { d_inner } else { 0 });
        let (x, row) = row.split_at(s.x_width);
        let (b, row) = row.split_at(s.b_width);
        let (c, dt) = row.split_at(s.c_width);
        let (mut x, mut b, mut c) = (x.to_vec(), b.to_vec(), c.to_vec());
        if s.repeat_before_conv {
            x = self.repeat(&x, d_inner);
            b = self.repeat(&b, s.c_width);
        }
        let mut raw = x.clone();
        if s.conv_covers_bc {
            raw.extend(b.iter().chain(&c));
        }
        let mut taps = memory.window.clone();
        taps.extend(raw);
        let filtered: Vec<f64> = (0..channels)
            .map(|channel| {
                let tap =
                    |j: usize| filter[channel * case.d_conv + j] * taps[j * channels + channel];
                silu(optional(bias, channel) + (0..case.d_conv).map(tap).sum::<f64>())
            })
            .collect();
        memory.window.copy_from_slice(&taps[channels..]);
        let (x_width, b_width) = (x.len(), b.len());
        x = filtered[..x_width].to_vec();
        if s.conv_covers_bc {
            b = filtered[x_width..x_width + b_width].to_vec();
            c = filtered[x_width + b_width..].to_vec();
        }
        let (x, b) = (self.repeat(&x, d_inner), self.repeat(&b, s.c_width));
        let mut output = Vec::with_capacity(d_inner);
        for head in 0..case.nheads {
            let mut step = match case.dt_rank {
                0 => dt[head],
                rank => (0..rank)
                    .map(|r| dt[r] * dt_weight[r * case.nheads + head])
                    .sum(),
            };
            step = (step + optional(dt_bias, head)).exp().ln_1p();
            let group = head / (case.nheads / (s.c_width / s.d_state));
            let mut y = Vec::new();
            for channel in head * s.headdim..(head + 1) * s.headdim {
                let mut sum = optional(d, head) * x[channel];
                for n in 0..s.d_state {
                    let rate = match case.a_is_per_state {
                        true => a[head * s.d_state + n],
                        false => a[head],
                    };
                    let state = &mut memory.state[channel * s.d_state + n];
                    *state =
                        (step * rate).exp() * *state + step * x[channel] * b[group * s.d_state + n];
                    sum += *state * c[group * s.d_state + n];
                }
                y.push(if s.has_z { sum * silu(z[channel]) } else { sum });
            }
            if !norm.is_empty() {
                let square = y.iter().map(|y| y * y).sum::<f64>() / y.len() as f64;
                for (offset, y) in y.iter_mut().enumerate() {
                    *y *= norm[head * s.headdim + offset] / (square + s.eps).sqrt();
                }
            }
            output.extend(y);
        }
        output
    }
}
