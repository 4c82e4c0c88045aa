//! Many tokens of a Mamba2 layer, several a call: what drafted tokens cost beside single steps.

use super::decode_step::{DecodeHeads, mamba2};
use super::timing::best_ms;
use crate::seeded::Seeded;
use crate::{DecodeState, Kept, SsmBackend, VerifyState, verify};
use burn::tensor::{DType, Tensor};

/// Milliseconds of `tokens` tokens of each sequence, `tokens_per_call` in a call of [`verify`](crate::verify()), all of which are kept; in
/// decode steps if that is 1.
///
/// # Panics
/// If `tokens_per_call` does not divide `tokens`, or is 0.
pub fn verify_ms<B: SsmBackend>(
    heads: DecodeHeads,
    batch: usize,
    dtype: DType,
    tokens: usize,
    tokens_per_call: usize,
) -> f64 {
    assert!(tokens.is_multiple_of(tokens_per_call), "whole calls");
    let device = Default::default();
    let step = mamba2::<B>(heads);
    let p = step.sizes();
    let rows = [batch, tokens_per_call, p.row_width()];
    let rows = Seeded::new(1)
        .tensor::<B, 3>(rows, -1.0, 1.0, &device)
        .cast(dtype);
    let window = [batch, p.d_conv - 1, p.conv_channels()];
    let state = [batch, p.d_inner(), p.shape.d_state];
    let state = DecodeState {
        conv_window: Tensor::<B, 3>::zeros(window, &device).cast(dtype),
        ssm_state: Tensor::zeros(state, &device),
    };
    let calls = tokens / tokens_per_call;
    if tokens_per_call == 1 {
        let row = rows.squeeze_dim::<2>(1);
        let mut next = Some(state);
        return best_ms::<B>(|| {
            for _ in 0..calls {
                let state = next.take().expect("left by the last step");
                let step = crate::decode_step(&step, row.clone(), state);
                next = Some(step.expect("shapes agree").1);
            }
        });
    }
    let count = |count| Kept::new(vec![count; batch], &device);
    let state = VerifyState::new(&step, state);
    let (_, state) = verify(&step, rows.clone(), state, &count(0)).expect("shapes agree");
    let all = count(tokens_per_call);
    let mut next = Some(state);
    best_ms::<B>(|| {
        for _ in 0..calls {
            let state = next.take().expect("left by the last call");
            let call = verify(&step, rows.clone(), state, &all);
            next = Some(call.expect("shapes agree").1);
        }
    })
}
