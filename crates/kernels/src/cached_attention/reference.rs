//! The new tokens' attention as rotations, writes and products of matrices.

use super::{CachedAttentionOperands, CachedAttentionProblem};
use crate::backend::SsmBackend;
use crate::primitive::{unwrap, wrap};
use crate::{VisibleKeys, masked_softmax, rotary};
use burn::tensor::{Device, Tensor, TensorData, backend::Backend, ops::FloatTensor};

/// Keys that are looked at are rounded up to this many: a GPU tunes its matrix products by shape, and would tune them for
/// every token decoded.
const GRID: usize = 16;

/// Far below every score, and finite in f16: the weight of such a key is 0.
const HIDDEN: f32 = -3e4;

/// [`cached_attention`](super::cached_attention()) on primitives, by other operations of the backend: output, keys, values.
///
/// The query heads of one key/value head are stacked along the sequence, so keys and values are never copied per query head.
pub fn forward<B: SsmBackend>(
    operands: CachedAttentionOperands<B>,
    p: &CachedAttentionProblem,
) -> [FloatTensor<B>; 3] {
    forward_with(operands, p, |held, tokens| {
        unwrap(write::<B>(wrap(held), wrap(tokens), p))
    })
}

/// As [`forward`], where `write` puts new keys or values, `[batch, n_kv_heads, seq, head_dim]`, among those held.
pub(crate) fn forward_with<B: SsmBackend>(
    operands: CachedAttentionOperands<B>,
    p: &CachedAttentionProblem,
    write: impl Fn(FloatTensor<B>, FloatTensor<B>) -> FloatTensor<B>,
) -> [FloatTensor<B>; 3] {
    let (batch, width) = (p.batch(), p.head_dim);
    let (queries, pairs) = (p.n_heads * width, p.n_kv_heads * width);
    let qkv = wrap::<B, 3>(operands.qkv);
    let angles = wrap::<B, 3>(operands.angles);
    let turned = |first: usize, channels: usize| {
        let rows = qkv.clone().narrow(2, first, channels);
        rotary(rows, angles.clone()).expect("checked with the other shapes")
    };
    let (q, k) = (turned(0, queries), turned(queries, pairs));
    let v = qkv.clone().narrow(2, queries + pairs, pairs);
    let v = v
        .reshape([batch, p.seq, p.n_kv_heads, width])
        .swap_dims(1, 2);
    let keys = wrap::<B, 4>(write(operands.keys, unwrap(k)));
    let values = wrap::<B, 4>(write(operands.values, unwrap(v)));
    let seen = (p.longest() + p.seq).next_multiple_of(GRID).min(p.room);

    let stacked = [batch, p.n_kv_heads, p.n_heads / p.n_kv_heads * p.seq, width];
    let k = keys.clone().narrow(2, 0, seen);
    let mut scores = q.reshape(stacked).matmul(k.swap_dims(2, 3));
    if p.is_ragged() || p.window.is_some() {
        let dims = scores.dims();
        let by_query = [batch, p.n_heads, p.seq, seen];
        let hidden = hidden::<B>(p, seen, &scores.device());
        scores = (scores.reshape(by_query) + hidden).reshape(dims);
    }
    let visible = VisibleKeys {
        seq: p.seq,
        past: p.longest(),
        first: None,
    };
    let weights = masked_softmax(scores, visible, (width as f64).powf(-0.5))
        .expect("a key for each token seen, and query heads divided among those of keys");
    let mixed = weights.matmul(values.clone().narrow(2, 0, seen));
    let mixed = mixed
        .reshape([batch, p.n_heads, p.seq, width])
        .swap_dims(1, 2);
    let mixed = mixed.reshape([batch, p.seq, queries]);
    [unwrap(mixed), unwrap(keys), unwrap(values)]
}

/// Writes `tokens` into `room`, each sequence after the tokens that it has.
fn write<B: Backend>(
    room: Tensor<B, 4>,
    tokens: Tensor<B, 4>,
    p: &CachedAttentionProblem,
) -> Tensor<B, 4> {
    let [batch, heads, seq, width] = tokens.dims();
    if !p.is_ragged() {
        let start = p.longest();
        return room.slice_assign([0..batch, 0..heads, start..start + seq, 0..width], tokens);
    }
    let write_row = |room: Tensor<B, 4>, (row, start): (usize, &usize)| {
        let row_tokens = tokens.clone().narrow(0, row, 1);
        room.slice_assign(
            [row..row + 1, 0..heads, *start..start + seq, 0..width],
            row_tokens,
        )
    };
    p.lens.iter().enumerate().fold(room, write_row)
}

/// Added to the scores where sequences differ in length or have a window: hides from each query the keys after its own and
/// those before its window, `[batch, 1, seq, keys]`.
fn hidden<B: Backend>(p: &CachedAttentionProblem, keys: usize, device: &Device<B>) -> Tensor<B, 4> {
    let queries = p.lens.iter().flat_map(|start| *start..start + p.seq);
    let window = p.window.unwrap_or(usize::MAX);
    let values = queries.flat_map(|own| {
        (0..keys).map(move |key| match key > own || own - key >= window {
            true => HIDDEN,
            false => 0.0,
        })
    });
    let shape = [p.batch(), 1, p.seq, keys];
    Tensor::from_data(TensorData::new(values.collect(), shape), device)
}
