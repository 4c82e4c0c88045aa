//! Writing new keys or values on the CPU, where they lie: a copy of all of them for each sequence would be most of a step.

use super::CachedAttentionProblem;

/// Writes `tokens`, `[batch, n_kv_heads, seq, head_dim]`, into `held`, `[batch, n_kv_heads, room, head_dim]`, each sequence after the
/// tokens that it has.
pub(crate) fn write(held: &mut [f32], tokens: &[f32], p: &CachedAttentionProblem) {
    let (new, room) = (p.seq * p.head_dim, p.room * p.head_dim);
    let heads = tokens.chunks_exact(new).zip(held.chunks_exact_mut(room));
    for (index, (tokens, held)) in heads.enumerate() {
        let first = p.lens[index / p.n_kv_heads] * p.head_dim;
        held[first..first + new].copy_from_slice(tokens);
    }
}
