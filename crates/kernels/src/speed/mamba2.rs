//! The operations of a Mamba2 mixer.

use super::inputs::{matrix, parameter, random, random4};
use super::timing::{Measurement, forward_and_both, width};
use crate::{CausalConv1dInputs, SsdInputs, SsdOptions, SsmBackend};
use burn::backend::Autodiff;
use burn::tensor::{DType, Tensor};

/// Sizes of state-space duality.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// Sequences.
    pub batch: usize,
    /// Steps.
    pub seq: usize,
    /// Heads.
    pub nheads: usize,
    /// Channels of a head.
    pub headdim: usize,
    /// Groups of heads that share b and c.
    pub ngroups: usize,
    /// States of a channel.
    pub d_state: usize,
}

/// Times state-space duality with d, bias of dt and softplus.
pub fn ssd<B: SsmBackend>(sizes: Heads, dtype: DType) -> Measurement {
    let Heads {
        batch,
        seq,
        nheads,
        headdim,
        ngroups,
        d_state,
    } = sizes;
    let inputs = SsdInputs::<Autodiff<B>> {
        x: random4([batch, seq, nheads, headdim], dtype),
        dt: random([batch, seq, nheads], -3.0, 1.0, dtype),
        a: parameter(nheads, -16.0, -1.0),
        b: random4([batch, seq, ngroups, d_state], dtype),
        c: random4([batch, seq, ngroups, d_state], dtype),
        d: Some(parameter(nheads, 0.5, 1.5)),
        z: None,
        dt_bias: Some(parameter(nheads, -4.0, -2.0)),
        initial_state: None,
        reset: None,
    };
    let plain = SsdInputs::<B> {
        x: inputs.x.clone().inner(),
        dt: inputs.dt.clone().inner(),
        a: inputs.a.clone().inner(),
        b: inputs.b.clone().inner(),
        c: inputs.c.clone().inner(),
        d: inputs.d.clone().map(Tensor::inner),
        z: None,
        dt_bias: inputs.dt_bias.clone().map(Tensor::inner),
        initial_state: None,
        reset: None,
    };
    let options = SsdOptions::default();
    let flat = [batch, seq, nheads * headdim];
    let (forward_ms, both_ms) = forward_and_both::<B>(
        random::<B>(flat, -1.0, 1.0, dtype).detach(),
        || {
            crate::ssd(plain.clone(), options).expect("shapes agree");
        },
        || {
            let output = crate::ssd(inputs.clone(), options);
            output.expect("shapes agree").y.reshape(flat)
        },
    );
    let steps = batch * seq * width(dtype);
    let large = steps * nheads * headdim;
    let given = large + steps * (nheads + 2 * ngroups * d_state) + 4 * 3 * nheads;
    let returned = large + 4 * batch * nheads * headdim * d_state;
    let sizes = format!("B{batch} L{seq} H{nheads} P{headdim} N{d_state} G{ngroups}");
    Measurement {
        op: "ssd",
        case: format!("{dtype:?} {sizes}"),
        forward_ms,
        both_ms: Some(both_ms),
        forward_bytes: given + returned,
        both_bytes: 2 * given + returned + large,
    }
}

/// Times the convolution of width 4 with bias and SiLU; `dims` are batch, seq and channels.
pub fn causal_conv1d<B: SsmBackend>(dims: [usize; 3], dtype: DType) -> Measurement {
    let [batch, seq, channels] = dims;
    let inputs = CausalConv1dInputs::<Autodiff<B>> {
        x: random(dims, -1.0, 1.0, dtype),
        weight: matrix([channels, 4], -0.5, 0.5),
        bias: Some(parameter(channels, -0.5, 0.5)),
        initial_window: None,
        reset: None,
    };
    let plain = CausalConv1dInputs::<B> {
        x: inputs.x.clone().inner(),
        weight: inputs.weight.clone().inner(),
        bias: inputs.bias.clone().map(Tensor::inner),
        initial_window: None,
        reset: None,
    };
    let (forward_ms, both_ms) = forward_and_both::<B>(
        inputs.x.clone().detach(),
        || {
            crate::causal_conv1d(plain.clone(), true).expect("shapes agree");
        },
        || {
            let output = crate::causal_conv1d(inputs.clone(), true);
            output.expect("shapes agree").y
        },
    );
    let large = batch * seq * channels * width(dtype);
    let given = large + 4 * 5 * channels;
    Measurement {
        op: "causal_conv1d",
        case: format!("{dtype:?} B{batch} L{seq} C{channels} W4"),
        forward_ms,
        both_ms: Some(both_ms),
        forward_bytes: given + large,
        both_bytes: 2 * given + 2 * large,
    }
}

/// Times the gated norm; `dims` are batch, seq and channels.
pub fn gated_rms_norm<B: SsmBackend>(
    dims: [usize; 3],
    group_size: usize,
    dtype: DType,
) -> Measurement {
    let [batch, seq, channels] = dims;
    let y = random::<B>(dims, -1.0, 1.0, dtype);
    let z = random::<B>(dims, -1.0, 1.0, dtype);
    let weight = parameter::<B>(channels, 0.5, 1.5);
    let plain = (y.clone().inner(), z.clone().inner());
    let plain_weight = weight.clone().inner();
    let (forward_ms, both_ms) = forward_and_both::<B>(
        y.clone().detach(),
        || {
            let (y, z) = plain.clone();
            crate::gated_rms_norm(y, z, plain_weight.clone(), group_size, 1e-5)
                .expect("shapes agree");
        },
        || {
            let (y, z) = (y.clone(), z.clone());
            crate::gated_rms_norm(y, z, weight.clone(), group_size, 1e-5).expect("shapes agree")
        },
    );
    let large = batch * seq * channels * width(dtype);
    let given = 2 * large + 4 * channels;
    Measurement {
        op: "gated_rms_norm",
        case: format!("{dtype:?} B{batch} L{seq} C{channels} of {group_size}"),
        forward_ms,
        both_ms: Some(both_ms),
        forward_bytes: given + large,
        both_bytes: 2 * given + 2 * large,
    }
}
