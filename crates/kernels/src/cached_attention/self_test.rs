//! The cached attention's cases.

use super::{CacheLengths, CachedAttentionInputs, FEW_TOKENS, cached_attention};
use crate::backend::SsmBackend;
use crate::primitive::wrap;
use crate::seeded::Seeded;
use crate::self_test::TensorCheck;
use crate::self_test::host::{device, free_nan, upload};
use crate::self_test::products::with_products;
use burn::tensor::{Tensor, backend::Backend};

#[derive(Clone, Debug)]
pub(crate) struct Case {
    seq: usize,
    n_heads: usize,
    n_kv_heads: usize,
    head_dim: usize,
    room: usize,
    own_angles: bool,
    lens: Vec<usize>,
    window: Option<usize>,
}

/// Empty caches and full ones, sequences of one length and of several, rounds that are cut, heads of odd widths.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let add = |cases: &mut Vec<Case>,
               [seq, n_heads, n_kv_heads, head_dim]: [usize; 4],
               lens: &[usize],
               free| {
        let longest = lens.iter().copied().max().unwrap_or(0);
        cases.push(Case {
            seq,
            n_heads,
            n_kv_heads,
            head_dim,
            room: longest + seq + free,
            own_angles: lens.iter().any(|len| *len != longest),
            lens: lens.to_vec(),
            window: None,
        });
    };
    add(&mut cases, [1, 9, 3, 64], &[0], 16);
    add(&mut cases, [1, 9, 3, 64], &[37], 10);
    add(&mut cases, [1, 3, 1, 64], &[255], 0);
    add(&mut cases, [1, 3, 3, 64], &[256], 1);
    add(&mut cases, [1, 2, 1, 32], &[700], 0);
    add(&mut cases, [5, 9, 3, 64], &[20], 7);
    add(&mut cases, [3, 4, 2, 8], &[9, 9], 0);
    add(&mut cases, [2, 6, 3, 20], &[11, 0, 30], 3);
    add(&mut cases, [5, 9, 3, 64], &[300, 12, 0, 257], 2);
    add(&mut cases, [1, 2, 2, 2], &[3], 0);
    add(&mut cases, [1, 1, 1, 96], &[250], 5);
    add(&mut cases, [1, 2, 1, 128], &[33, 40], 0);
    add(&mut cases, [32, 2, 1, 16], &[6], 0);
    add(&mut cases, [40, 2, 1, 16], &[6], 4);
    add(&mut cases, [20, 2, 1, 16], &[6, 3], 4);
    // Windows: of one key, cut by the new tokens, longer than all there is; also where sequences differ in length.
    for (window, [seq, len]) in [(1, [1, 9]), (5, [1, 30]), (4, [7, 10]), (50, [3, 20])] {
        add(&mut cases, [seq, 4, 2, 16], &[len], 3);
        add(&mut cases, [seq, 4, 2, 16], &[len, 2], 3);
        let last = cases.len() - 2;
        cases[last..]
            .iter_mut()
            .for_each(|case| case.window = Some(window));
    }
    cases
}

/// Inputs on the host.
pub(crate) struct Inputs {
    qkv: Vec<f32>,
    angles: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
}

/// Output, keys and values.
pub(crate) type Expected = [Vec<f64>; 3];

impl Case {
    fn batch(&self) -> usize {
        self.lens.len()
    }

    fn heads(&self) -> usize {
        self.n_heads + 2 * self.n_kv_heads
    }

    pub(crate) fn inputs(&self, seed: u64) -> Inputs {
        let mut seeded = Seeded::new(seed);
        let rows = self.batch() * self.seq;
        let angles = if self.own_angles { rows } else { self.seq };
        let half = self.head_dim / 2;
        let turns = seeded.uniforms(angles * half, -3.0, 3.0);
        let angles = turns.chunks_exact(half).flat_map(|turns| {
            let cosines = turns.iter().map(|turn| turn.cos());
            cosines.chain(turns.iter().map(|turn| turn.sin()))
        });
        let cache = self.batch() * self.n_kv_heads * self.room * self.head_dim;
        Inputs {
            qkv: seeded.uniforms(rows * self.heads() * self.head_dim, -2.0, 2.0),
            angles: angles.collect(),
            keys: seeded.uniforms(cache, -2.0, 2.0),
            values: seeded.uniforms(cache, -2.0, 2.0),
        }
    }

    /// The first element of a token's key and value in the cache.
    fn place(&self, sequence: usize, kv_head: usize, token: usize) -> usize {
        ((sequence * self.n_kv_heads + kv_head) * self.room + token) * self.head_dim
    }

    /// A head of a new token, turned if it is one of queries or keys.
    fn head(&self, inputs: &Inputs, sequence: usize, token: usize, head: usize) -> Vec<f64> {
        let row = sequence * self.seq + token;
        let from = (row * self.heads() + head) * self.head_dim;
        let x = inputs.qkv[from..][..self.head_dim]
            .iter()
            .copied()
            .map(f64::from);
        let x: Vec<f64> = x.collect();
        if head >= self.n_heads + self.n_kv_heads {
            return x;
        }
        let row = if self.own_angles { row } else { token };
        let (half, angles) = (self.head_dim / 2, &inputs.angles[row * self.head_dim..]);
        let turn = |at: usize| {
            let pair = at % half;
            let (cos, sin) = (f64::from(angles[pair]), f64::from(angles[half + pair]));
            match at < half {
                true => x[at] * cos - x[at + half] * sin,
                false => x[at] * cos + x[pair] * sin,
            }
        };
        (0..self.head_dim).map(turn).collect()
    }

    /// The definition.
    pub(crate) fn naive(&self, inputs: &Inputs) -> Expected {
        let as_f64 = |values: &[f32]| values.iter().copied().map(f64::from).collect::<Vec<_>>();
        let (mut keys, mut values) = (as_f64(&inputs.keys), as_f64(&inputs.values));
        for (sequence, len) in self.lens.iter().enumerate() {
            for (token, kv_head) in
                (0..self.seq).flat_map(|t| (0..self.n_kv_heads).map(move |h| (t, h)))
            {
                let to = self.place(sequence, kv_head, len + token);
                let head = self.n_heads + kv_head;
                let key = self.head(inputs, sequence, token, head);
                keys[to..][..self.head_dim].copy_from_slice(&key);
                let value = self.head(inputs, sequence, token, head + self.n_kv_heads);
                values[to..][..self.head_dim].copy_from_slice(&value);
            }
        }
        let scale = (self.head_dim as f64).powf(-0.5);
        let mut mixed = Vec::new();
        for (sequence, len) in self.lens.iter().enumerate() {
            for (token, head) in (0..self.seq).flat_map(|t| (0..self.n_heads).map(move |h| (t, h)))
            {
                let query = self.head(inputs, sequence, token, head);
                let kv_head = head / (self.n_heads / self.n_kv_heads);
                let own = len + token;
                let first = self
                    .window
                    .map_or(0, |window| (own + 1).saturating_sub(window));
                let seen = || (first..=own).map(|key| self.place(sequence, kv_head, key));
                let scores: Vec<f64> = seen()
                    .map(|from| {
                        let pairs = query.iter().zip(&keys[from..]);
                        scale * pairs.map(|(q, k)| q * k).sum::<f64>()
                    })
                    .collect();
                let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
                let total: f64 = weights.iter().sum();
                mixed.extend((0..self.head_dim).map(|at| {
                    let pairs = seen().zip(&weights);
                    pairs.map(|(from, p)| p * values[from + at]).sum::<f64>() / total
                }));
            }
        }
        [mixed, keys, values]
    }

    /// The operation's inputs on the device.
    pub(crate) fn tensors<'a, B: Backend>(
        &self,
        inputs: &Inputs,
        lens: &'a CacheLengths<B>,
    ) -> CachedAttentionInputs<'a, B> {
        let width = self.heads() * self.head_dim;
        let rows = if self.own_angles { self.batch() } else { 1 };
        let cache = [self.batch(), self.n_kv_heads, self.room, self.head_dim];
        CachedAttentionInputs {
            qkv: wrap(upload::<B>(&inputs.qkv, &[self.batch(), self.seq, width])),
            angles: wrap(upload::<B>(
                &inputs.angles,
                &[rows, self.seq, self.head_dim],
            )),
            keys: wrap(upload::<B>(&inputs.keys, &cache)),
            values: wrap(upload::<B>(&inputs.values, &cache)),
            lens,
            window: self.window,
        }
    }

    pub(crate) fn lens<B: Backend>(&self) -> CacheLengths<B> {
        CacheLengths::new(self.lens.clone(), &device::<B>())
    }

    /// Whether the reference computes it on every backend.
    fn goes_by_products(&self) -> bool {
        self.window.is_some() || self.seq > FEW_TOKENS
    }

    /// Sizes of its products: scores, and what they mix.
    fn products(&self) -> [[usize; 4]; 2] {
        let batch = self.batch() * self.n_kv_heads;
        let rows = self.n_heads / self.n_kv_heads * self.seq;
        [
            [batch, rows, self.head_dim, self.room],
            [batch, rows, self.room, self.head_dim],
        ]
    }

    pub(crate) fn check<B: SsmBackend>(&self) -> Vec<TensorCheck> {
        let inputs = self.inputs(7);
        let lens = self.lens::<B>();
        let tensors = self.tensors::<B>(&inputs, &lens);
        let mixed = self.batch() * self.seq * self.n_heads * self.head_dim;
        free_nan::<B>([mixed].into_iter());
        let out = cached_attention(tensors).expect("the shapes agree");
        let [mixed, keys, values] = self.naive(&inputs);
        let mut moved = TensorCheck::new("values", &host(out.values), &values);
        // Only moved.
        moved.tolerance = 0.0;
        let mut mixed = TensorCheck::new("mixed", &host(out.mixed), &mixed);
        if self.goes_by_products() {
            mixed.tolerance = with_products::<B>(mixed.tolerance, &self.products());
        }
        vec![
            mixed,
            TensorCheck::new("keys", &host(out.keys), &keys),
            moved,
        ]
    }

    /// Sizes, short.
    pub(crate) fn label(&self) -> String {
        format!(
            "l{} h{} of {} p{} after {:?} in {} window {:?}",
            self.seq,
            self.n_heads,
            self.n_kv_heads,
            self.head_dim,
            self.lens,
            self.room,
            self.window
        )
    }
}

pub(crate) fn host<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}
