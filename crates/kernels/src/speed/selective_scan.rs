//! The selective scan with d, z, bias of dt and softplus.

use super::inputs::{matrix, parameter, random, random4};
use super::timing::{Measurement, forward_and_both, width};
use crate::{SelectiveScanInputs, SsmBackend};
use burn::backend::Autodiff;
use burn::tensor::{DType, Tensor};

/// Sizes of a scan.
#[derive(Clone, Copy, Debug)]
pub struct Channels {
    /// Sequences.
    pub batch: usize,
    /// Steps.
    pub seq: usize,
    /// Channels.
    pub d_inner: usize,
    /// Groups of channels that share b and c.
    pub ngroups: usize,
    /// States of a channel.
    pub d_state: usize,
}

/// Times the scan of `B` with the large inputs in `dtype`.
pub fn selective_scan<B: SsmBackend>(sizes: Channels, dtype: DType) -> Measurement {
    let Channels {
        batch,
        seq,
        d_inner,
        ngroups,
        d_state,
    } = sizes;
    let inner = [batch, seq, d_inner];
    let inputs = SelectiveScanInputs::<Autodiff<B>> {
        u: random(inner, -1.0, 1.0, dtype),
        dt: random(inner, -3.0, 1.0, dtype),
        a: matrix([d_inner, d_state], -16.0, -1.0),
        b: random4([batch, seq, ngroups, d_state], dtype),
        c: random4([batch, seq, ngroups, d_state], dtype),
        d: Some(parameter(d_inner, 0.5, 1.5)),
        z: Some(random(inner, -1.0, 1.0, dtype)),
        dt_bias: Some(parameter(d_inner, -4.0, -2.0)),
        initial_state: None,
        reset: None,
    };
    let plain = SelectiveScanInputs::<B> {
        u: inputs.u.clone().inner(),
        dt: inputs.dt.clone().inner(),
        a: inputs.a.clone().inner(),
        b: inputs.b.clone().inner(),
        c: inputs.c.clone().inner(),
        d: inputs.d.clone().map(Tensor::inner),
        z: inputs.z.clone().map(Tensor::inner),
        dt_bias: inputs.dt_bias.clone().map(Tensor::inner),
        initial_state: None,
        reset: None,
    };
    let dy = random::<B>(inner, -1.0, 1.0, dtype).detach();
    let (forward_ms, both_ms) = forward_and_both::<B>(
        dy,
        || {
            crate::selective_scan(plain.clone(), true).expect("shapes agree");
        },
        || {
            let output = crate::selective_scan(inputs.clone(), true);
            output.expect("shapes agree").y
        },
    );
    let large = batch * seq * d_inner * width(dtype);
    let grouped = 2 * batch * seq * ngroups * d_state * width(dtype);
    let parameters = 4 * d_inner * (d_state + 2);
    let given = 3 * large + grouped + parameters;
    let returned = large + 4 * batch * d_inner * d_state;
    Measurement {
        op: "selective_scan",
        case: format!("{dtype:?} B{batch} L{seq} D{d_inner} N{d_state} G{ngroups}"),
        forward_ms,
        both_ms: Some(both_ms),
        forward_bytes: given + returned,
        both_bytes: 2 * given + returned + large,
    }
}
