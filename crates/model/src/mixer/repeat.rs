//! From key/value width to query width.

use burn::tensor::{Tensor, backend::Backend};

/// Cuts the channels of `x`, `[batch, seq, channels]`, into pieces of `width` and repeats each
/// `times` times in place: `p0 p0 p1 p1 ..` (method 2.4, step 2).
pub(super) fn repeat_pieces<B: Backend>(
    x: Tensor<B, 3>,
    width: usize,
    times: usize,
) -> Tensor<B, 3> {
    if times == 1 {
        return x;
    }
    let [batch, seq, channels] = x.dims();
    let pieces = channels / width;
    x.reshape([batch, seq, pieces, 1, width])
        .expand([batch, seq, pieces, times, width])
        .reshape([batch, seq, channels * times])
}
