//! The operations that every block has beside its mixer, and the rotation of attention.

use super::inputs::{parameter, random};
use super::timing::{Measurement, forward_and_both, width};
use crate::SsmBackend;
use burn::backend::Autodiff;
use burn::tensor::{DType, FloatDType, Tensor};

/// Times the norm of a stream in f32 with a result in `dtype` and a frozen weight; `dims` are batch, seq and channels.
pub fn rms_norm<B: SsmBackend>(dims: [usize; 3], dtype: DType) -> Measurement {
    let [batch, seq, channels] = dims;
    let x = random::<B>(dims, -1.0, 1.0, DType::F32);
    let weight = parameter::<B>(channels, 0.5, 1.5).inner();
    let result = Some(FloatDType::from(dtype));
    let plain = x.clone().inner();
    let (forward_ms, both_ms) = forward_and_both::<B>(
        x.clone().detach().cast(dtype),
        || {
            crate::rms_norm(plain.clone(), weight.clone(), 1e-5, result).expect("shapes agree");
        },
        || {
            let weight = Tensor::<Autodiff<B>, 1>::from_inner(weight.clone());
            crate::rms_norm(x.clone(), weight, 1e-5, result).expect("shapes agree")
        },
    );
    let elements = batch * seq * channels;
    let (wide, narrow) = (4 * elements, elements * width(dtype));
    Measurement {
        op: "rms_norm",
        case: format!("F32 to {dtype:?} B{batch} L{seq} C{channels}"),
        forward_ms,
        both_ms: Some(both_ms),
        forward_bytes: wide + narrow,
        both_bytes: 2 * wide + 2 * narrow,
    }
}

/// Times the gate of an MLP; `dims` are batch, seq and channels.
pub fn swiglu<B: SsmBackend>(dims: [usize; 3], dtype: DType) -> Measurement {
    let [batch, seq, channels] = dims;
    let gate = random::<B>(dims, -1.0, 1.0, dtype);
    let up = random::<B>(dims, -1.0, 1.0, dtype);
    let plain = (gate.clone().inner(), up.clone().inner());
    let (forward_ms, both_ms) = forward_and_both::<B>(
        gate.clone().detach(),
        || {
            let (gate, up) = plain.clone();
            crate::swiglu(gate, up).expect("shapes agree");
        },
        || crate::swiglu(gate.clone(), up.clone()).expect("shapes agree"),
    );
    let large = batch * seq * channels * width(dtype);
    Measurement {
        op: "swiglu",
        case: format!("{dtype:?} B{batch} L{seq} C{channels}"),
        forward_ms,
        both_ms: Some(both_ms),
        forward_bytes: 3 * large,
        both_bytes: 6 * large,
    }
}

/// Times the rotation; `dims` are batch, seq, heads and channels of a head.
pub fn rotary<B: SsmBackend>(dims: [usize; 4], dtype: DType) -> Measurement {
    let [batch, seq, heads, head_dim] = dims;
    let x = random::<B>([batch, seq, heads * head_dim], -1.0, 1.0, dtype);
    let angles = random::<B>([1, seq, head_dim], -1.0, 1.0, DType::F32).inner();
    let plain = x.clone().inner();
    let flat = |turned: Tensor<Autodiff<B>, 4>| turned.reshape([batch, heads * seq, head_dim]);
    let (forward_ms, both_ms) = forward_and_both::<B>(
        flat(x.clone().detach().reshape([batch, heads, seq, head_dim])),
        || {
            crate::rotary(plain.clone(), angles.clone()).expect("shapes agree");
        },
        || {
            let angles = Tensor::from_inner(angles.clone());
            flat(crate::rotary(x.clone(), angles).expect("shapes agree"))
        },
    );
    let large = batch * seq * heads * head_dim * width(dtype);
    let table = 4 * seq * head_dim;
    Measurement {
        op: "rotary",
        case: format!("{dtype:?} B{batch} L{seq} H{heads} of {head_dim}"),
        forward_ms,
        both_ms: Some(both_ms),
        forward_bytes: 2 * large + table,
        both_bytes: 4 * large + 2 * table,
    }
}
