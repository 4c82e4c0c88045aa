//! What forward and backward compute of one segment in the same way.

use super::{CHUNK, Operands, Segment, transpose};
use crate::host::gemm::{Left, multiply};
use crate::host::lanes::{LANES, Lanes};
use crate::ssd::SsdProblem;

/// Rows of a triangle that are multiplied together.
pub(super) const TILE: usize = 4;

/// Positions of one row and head in the operands.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub(super) row: usize,
    pub(super) head: usize,
    pub(super) group: usize,
}

impl Head {
    pub(super) fn new(p: &SsdProblem, task: usize) -> Self {
        let head = task % p.nheads;
        Self {
            row: task / p.nheads,
            head,
            group: head / (p.nheads / p.ngroups),
        }
    }

    /// First element of `x`, `z` or `y` at step `t`; rows are `nheads * headdim` apart.
    #[inline(always)]
    pub(super) fn inner(&self, p: &SsdProblem, t: usize) -> usize {
        ((self.row * p.seq + t) * p.nheads + self.head) * p.headdim
    }

    /// First element of `b` or `c` at step `t`; rows are `ngroups * d_state` apart.
    #[inline(always)]
    pub(super) fn grouped(&self, p: &SsdProblem, t: usize) -> usize {
        ((self.row * p.seq + t) * p.ngroups + self.group) * p.d_state
    }

    /// Element of `dt` at step `t`.
    #[inline(always)]
    pub(super) fn scalar(&self, p: &SsdProblem, t: usize) -> usize {
        (self.row * p.seq + t) * p.nheads + self.head
    }
}

/// Step sizes and decays of a segment; entries past its length are unspecified but finite.
pub(super) struct Decays {
    pub(super) dt: [f32; CHUNK],
    /// Derivative of softplus.
    pub(super) dt_slope: [f32; CHUNK],
    /// Sums of `dt a` up to and including each step: a whole number, exact, and the rest. Decays are exponentials of
    /// differences, which one rounded sum would spoil.
    cum: [f32; CHUNK],
    rest: [f32; CHUNK],
    /// `exp(cum_t)`.
    pub(super) from_start: [f32; CHUNK],
    /// `exp(cum_last - cum_t)`.
    pub(super) to_end: [f32; CHUNK],
    /// `exp(cum_last)`.
    pub(super) whole: f32,
}

impl Decays {
    pub(super) fn new() -> Self {
        Self {
            dt: [0.0; CHUNK],
            dt_slope: [1.0; CHUNK],
            cum: [0.0; CHUNK],
            rest: [0.0; CHUNK],
            from_start: [0.0; CHUNK],
            to_end: [0.0; CHUNK],
            whole: 1.0,
        }
    }

    #[inline(always)]
    pub(super) fn fill<const FMA: bool>(
        &mut self,
        operands: &Operands<'_>,
        p: &SsdProblem,
        at: Head,
        segment: Segment,
    ) {
        let bias = if p.has_dt_bias {
            operands.dt_bias[at.head]
        } else {
            0.0
        };
        for (i, dt) in self.dt[..segment.length].iter_mut().enumerate() {
            *dt = operands.dt[at.scalar(p, segment.start + i)] + bias;
        }
        if p.dt_softplus {
            let slopes = self.dt_slope.chunks_exact_mut(LANES);
            for (dt, slope) in self.dt.chunks_exact_mut(LANES).zip(slopes) {
                let raw = Lanes::load(dt);
                raw.sigmoid::<FMA>().store(slope);
                raw.softplus::<FMA>().store(dt);
            }
        }
        let rate = f64::from(operands.a[at.head]);
        let mut sum = 0.0;
        for t in 0..CHUNK {
            if t < segment.length {
                sum += f64::from(self.dt[t]) * rate;
            }
            self.cum[t] = sum.round() as f32;
            self.rest[t] = (sum - sum.round()) as f32;
        }
        let whole = Lanes::splat(sum.round() as f32);
        let rest = Lanes::splat((sum - sum.round()) as f32);
        for first in (0..CHUNK).step_by(LANES) {
            let cum = Lanes::load(&self.cum[first..first + LANES]);
            let part = Lanes::load(&self.rest[first..first + LANES]);
            (cum + part)
                .exp::<FMA>()
                .store(&mut self.from_start[first..first + LANES]);
            let left = (whole - cum) + (rest - part);
            left.exp::<FMA>()
                .store(&mut self.to_end[first..first + LANES]);
        }
        self.whole = self.from_start[segment.length - 1];
    }
}

/// `scores[t, s] = C_t . B_s` for `s <= t`, rows [`CHUNK`] apart; fills `b_columns` with the
/// transpose of `B`, `[d_state, CHUNK]`.
#[inline(always)]
pub(super) fn scores<const FMA: bool>(
    operands: &Operands<'_>,
    p: &SsdProblem,
    at: Head,
    segment: Segment,
    b_columns: &mut [f32],
    scores: &mut [f32],
) {
    let q = segment.length;
    let stride = p.ngroups * p.d_state;
    let first = at.grouped(p, segment.start);
    transpose(
        &operands.b[first..],
        [q, p.d_state],
        stride,
        b_columns,
        CHUNK,
    );
    for row in (0..q).step_by(TILE) {
        let rows = TILE.min(q - row);
        multiply::<FMA, false>(
            [rows, row + rows, p.d_state],
            Left {
                values: &operands.c[first + row * stride..],
                row_stride: stride,
                column_stride: 1,
            },
            b_columns,
            CHUNK,
            &mut scores[row * CHUNK..],
            CHUNK,
        );
    }
}

/// `exp(cum_t - cum_s)` for `t = row` and the steps `s` from `first` on, zero for `s > t`: a row of
/// the matrix is thereby zero up to the next multiple of [`LANES`], which covers its tile.
#[inline(always)]
pub(super) fn decay_line<const FMA: bool>(decays: &Decays, row: usize, first: usize) -> Lanes {
    let cum = Lanes::load(&decays.cum[first..first + LANES]);
    let rest = Lanes::load(&decays.rest[first..first + LANES]);
    let whole = Lanes::splat(decays.cum[row]) - cum;
    let mut decay = (whole + (Lanes::splat(decays.rest[row]) - rest)).exp::<FMA>();
    if first + LANES > row + 1 {
        let kept = row + 1 - first;
        for (lane, decay) in decay.0.iter_mut().enumerate() {
            *decay = if lane < kept { *decay } else { 0.0 };
        }
    }
    decay
}

/// `scores` becomes `M_ts = (C_t . B_s) exp(cum_t - cum_s) dt_s`.
#[inline(always)]
pub(super) fn mix<const FMA: bool>(decays: &Decays, q: usize, scores: &mut [f32]) {
    for row in 0..q {
        for first in (0..=row).step_by(LANES) {
            let dt = Lanes::load(&decays.dt[first..first + LANES]);
            let weight = decay_line::<FMA>(decays, row, first) * dt;
            let line = &mut scores[row * CHUNK + first..row * CHUNK + first + LANES];
            (Lanes::load(line) * weight).store(line);
        }
    }
}

/// Output before skip and gate, `[length, headdim]`: the mixed inputs and, unless it is `None`,
/// the state entering, `[d_state, headdim]`.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "one inner call")]
pub(super) fn outputs<const FMA: bool>(
    operands: &Operands<'_>,
    p: &SsdProblem,
    at: Head,
    segment: Segment,
    decays: &Decays,
    mixing: &[f32],
    state: Option<&[f32]>,
    y: &mut [f32],
) {
    let (q, width) = (segment.length, p.headdim);
    let y = &mut y[..q * width];
    match state {
        Some(state) => {
            let row_stride = p.ngroups * p.d_state;
            let values = &operands.c[at.grouped(p, segment.start)..];
            let left = Left {
                values,
                row_stride,
                column_stride: 1,
            };
            multiply::<FMA, false>([q, width, p.d_state], left, state, width, y, width);
            for (line, decay) in y.chunks_exact_mut(width).zip(decays.from_start) {
                for value in line {
                    *value *= decay;
                }
            }
        }
        None => y.fill(0.0),
    }
    let x = &operands.x[at.inner(p, segment.start)..];
    for row in (0..q).step_by(TILE) {
        let rows = TILE.min(q - row);
        let left = Left {
            values: &mixing[row * CHUNK..],
            row_stride: CHUNK,
            column_stride: 1,
        };
        let sizes = [rows, width, row + rows];
        let stride = p.nheads * width;
        multiply::<FMA, true>(sizes, left, x, stride, &mut y[row * width..], width);
    }
    if p.has_d {
        let skip = operands.d[at.head];
        for (t, line) in y.chunks_exact_mut(width).enumerate() {
            let first = at.inner(p, segment.start + t);
            for (value, x) in line.iter_mut().zip(&operands.x[first..first + width]) {
                *value += skip * x;
            }
        }
    }
}
