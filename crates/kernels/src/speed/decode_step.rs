//! One decode step of a Mamba2 layer, everything between its projections.

use super::timing::{Measurement, best_ms, width};
use crate::seeded::Seeded;
use crate::{DecodeState, DecodeStep, DecodeStepShape, DecodeStepWeights, SsmBackend};
use burn::tensor::{DType, Tensor};

/// Heads of a mixer; a head has as many states as channels.
#[derive(Clone, Copy, Debug)]
pub struct DecodeHeads {
    /// Query heads.
    pub nheads: usize,
    /// Heads of x and b.
    pub kv_heads: usize,
    /// Channels of a head.
    pub headdim: usize,
}

/// Times decode steps that follow each other, each from the state that the last one left.
pub fn decode_step<B: SsmBackend>(heads: DecodeHeads, batch: usize, dtype: DType) -> Measurement {
    let device = Default::default();
    let step = mamba2::<B>(heads);
    let p = step.sizes();
    let rows = [batch, p.row_width()];
    let rows = Seeded::new(1)
        .tensor::<B, 2>(rows, -1.0, 1.0, &device)
        .cast(dtype);
    let window = [batch, p.d_conv - 1, p.conv_channels()];
    let state = [batch, p.d_inner(), p.shape.d_state];
    let mut next = Some(DecodeState {
        conv_window: Tensor::<B, 3>::zeros(window, &device).cast(dtype),
        ssm_state: Tensor::zeros(state, &device),
    });
    let forward_ms = best_ms::<B>(|| {
        let state = next.take().expect("left by the last step");
        let (_, state) = crate::decode_step(&step, rows.clone(), state).expect("shapes agree");
        next = Some(state);
    });
    let large = 2 * window.iter().product::<usize>() + batch * (p.row_width() + p.d_inner());
    let states = 2 * state.iter().product::<usize>();
    let weights = 5 * p.conv_channels() + 3 * heads.nheads + p.d_inner();
    let bytes = large * width(dtype) + 4 * (states + weights);
    let DecodeHeads {
        nheads, headdim, ..
    } = heads;
    Measurement {
        op: "decode_step",
        case: format!("{dtype:?} B{batch} H{nheads} P{headdim} N{headdim}"),
        forward_ms,
        both_ms: None,
        forward_bytes: bytes,
        both_bytes: bytes,
    }
}

pub(super) fn mamba2<B: SsmBackend>(heads: DecodeHeads) -> DecodeStep<B> {
    let device = Default::default();
    let mut seeded = Seeded::new(2);
    let d_inner = heads.nheads * heads.headdim;
    let d_xb = heads.kv_heads * heads.headdim;
    let channels = d_inner + 2 * d_xb;
    let shape = DecodeStepShape {
        headdim: heads.headdim,
        d_state: heads.headdim,
        x_width: d_xb,
        b_width: d_xb,
        c_width: d_inner,
        repeat_width: heads.headdim,
        repeat_before_conv: false,
        conv_covers_bc: true,
        has_z: true,
        eps: 1e-5,
    };
    let weights = DecodeStepWeights {
        conv_weight: seeded.tensor([channels, 4], -0.5, 0.5, &device),
        conv_bias: Some(seeded.tensor([channels], -0.5, 0.5, &device)),
        dt_weight: None,
        dt_bias: Some(seeded.tensor([heads.nheads], -6.0, -2.0, &device)),
        a: seeded.tensor([heads.nheads, 1], -16.0, -1.0, &device),
        d: Some(seeded.tensor([heads.nheads], 0.5, 1.5, &device)),
        norm_weight: Some(seeded.tensor([d_inner], 0.5, 1.5, &device)),
    };
    DecodeStep::new(shape, weights).expect("shapes agree")
}
