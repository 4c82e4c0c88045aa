//! The way back through one segment, part by part (method 3.2, chunked).

use super::Outputs;
use crate::host::gemm::{Left, multiply};
use crate::host::lanes::{LANES, Lanes};
use crate::ssd::SsdProblem;
use crate::ssd::host::chunk::{Decays, Head, TILE, decay_line, mix, outputs, scores};
use crate::ssd::host::{CHUNK, Operands, Segment, transpose};

/// Scratch of one head, reused from segment to segment. Square matrices have rows of [`CHUNK`].
pub(super) struct Scratch {
    decays: Decays,
    /// Transpose of `B`, `[d_state, CHUNK]`.
    b_columns: Vec<f32>,
    /// Transpose of `x`, `[headdim, CHUNK]`.
    x_columns: Vec<f32>,
    /// Transpose of a state, `[headdim, d_state]`.
    turned: Vec<f32>,
    /// `C_t . B_s`, then `M`.
    mixing: Vec<f32>,
    /// Gradient of `M`, then of the scores.
    dscores: Vec<f32>,
    /// Gradient of the output before the gate, `[CHUNK, headdim]`.
    ds: Vec<f32>,
    dx: Vec<f32>,
    /// Products of `[CHUNK, headdim]` and of `[CHUNK, d_state]` that are not results themselves.
    lines: Vec<f32>,
    db: Vec<f32>,
    dc: Vec<f32>,
    grouped_lines: Vec<f32>,
    /// Small differences of large sums.
    dcum: [f64; CHUNK],
    ddt: [f64; CHUNK],
}

/// Running sums of one head.
#[derive(Default)]
pub(super) struct Sums {
    pub(super) a: f64,
    pub(super) d: f64,
    pub(super) dt_bias: f64,
}

impl Scratch {
    pub(super) fn new(p: &SsdProblem) -> Self {
        Self {
            decays: Decays::new(),
            b_columns: vec![0.0; p.d_state * CHUNK],
            x_columns: vec![0.0; p.headdim * CHUNK],
            turned: vec![0.0; p.d_state * p.headdim],
            mixing: vec![0.0; CHUNK * CHUNK],
            dscores: vec![0.0; CHUNK * CHUNK],
            ds: vec![0.0; CHUNK * p.headdim],
            dx: vec![0.0; CHUNK * p.headdim],
            lines: vec![0.0; CHUNK * p.headdim],
            db: vec![0.0; CHUNK * p.d_state],
            dc: vec![0.0; CHUNK * p.d_state],
            grouped_lines: vec![0.0; CHUNK * p.d_state],
            dcum: [0.0; CHUNK],
            ddt: [0.0; CHUNK],
        }
    }

    /// Decays, scores and the gradient before the gate; writes the gradient of the gate.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "one inner call")]
    pub(super) fn prepare<const FMA: bool>(
        &mut self,
        operands: &Operands<'_>,
        p: &SsdProblem,
        at: Head,
        segment: Segment,
        entering: Option<&[f32]>,
        dy: Option<&[f32]>,
        out: &Outputs<'_>,
        sums: &mut Sums,
    ) {
        let (q, width) = (segment.length, p.headdim);
        self.decays.fill::<FMA>(operands, p, at, segment);
        scores::<FMA>(
            operands,
            p,
            at,
            segment,
            &mut self.b_columns,
            &mut self.mixing,
        );
        let Some(dy) = dy else {
            // The buffer of the gate's gradient starts as zeros.
            self.ds[..q * width].fill(0.0);
            return;
        };
        if p.has_z {
            self.dscores.copy_from_slice(&self.mixing);
            mix::<FMA>(&self.decays, q, &mut self.dscores);
            outputs::<FMA>(
                operands,
                p,
                at,
                segment,
                &self.decays,
                &self.dscores,
                entering,
                &mut self.lines,
            );
        }
        for t in 0..q {
            let first = at.inner(p, segment.start + t);
            let dy = &dy[first..first + width];
            let ds = &mut self.ds[t * width..(t + 1) * width];
            if p.has_z {
                // SAFETY: this task alone writes this head of this row.
                let dz = unsafe { out.z.part(first, width) };
                let z = &operands.z[first..first + width];
                let ungated = &self.lines[t * width..(t + 1) * width];
                for first in (0..width).step_by(LANES) {
                    let part = first..width.min(first + LANES);
                    let (dy, z) = (
                        Lanes::load(&dy[part.clone()]),
                        Lanes::load(&z[part.clone()]),
                    );
                    let one = Lanes::splat(1.0);
                    let gate = z.sigmoid::<FMA>();
                    let slope = gate * (z * (one - gate) + one);
                    let ungated = Lanes::load(&ungated[part.clone()]);
                    (dy * ungated * slope).store(&mut dz[part.clone()]);
                    (dy * z * gate).store(&mut ds[part]);
                }
            } else {
                ds.copy_from_slice(dy);
            }
            if p.has_d {
                sums.d += dot(ds, &operands.x[first..first + width]);
            }
        }
    }

    /// Through the products inside the segment; sets `dx`, `db`, `dc`, `ddt` and `dcum`.
    #[inline(always)]
    pub(super) fn inside<const FMA: bool>(
        &mut self,
        operands: &Operands<'_>,
        p: &SsdProblem,
        at: Head,
        segment: Segment,
    ) {
        let (q, width, d_state) = (segment.length, p.headdim, p.d_state);
        let x = &operands.x[at.inner(p, segment.start)..];
        transpose(x, [q, width], p.nheads * width, &mut self.x_columns, CHUNK);
        for row in (0..q).step_by(TILE) {
            let rows = TILE.min(q - row);
            let left = Left {
                values: &self.ds[row * width..],
                row_stride: width,
                column_stride: 1,
            };
            let out = &mut self.dscores[row * CHUNK..];
            let sizes = [rows, row + rows, width];
            multiply::<FMA, false>(sizes, left, &self.x_columns, CHUNK, out, CHUNK);
        }

        // F = dM R L, E = F dt; dR = dM L dt, M = R L dt. `dcum` is a row's sum of E less a column's: both are of the
        // same rounded products, and a step's own, which nothing decays, is in neither.
        self.dcum.fill(0.0);
        self.ddt.fill(0.0);
        for row in 0..q {
            let mut row_sum = [0.0; LANES];
            for first in (0..=row).step_by(LANES) {
                let part = first..first + LANES;
                let line = row * CHUNK + first..row * CHUNK + first + LANES;
                let dt = Lanes::load(&self.decays.dt[part.clone()]);
                let decay = decay_line::<FMA>(&self.decays, row, first);
                let score = Lanes::load(&self.mixing[line.clone()]);
                let through = Lanes::load(&self.dscores[line.clone()]) * decay;
                let mut per_pair = through * score;
                (through * dt).store(&mut self.dscores[line.clone()]);
                (score * decay * dt).store(&mut self.mixing[line]);
                for (sum, value) in self.ddt[part.clone()].iter_mut().zip(per_pair.0) {
                    *sum += f64::from(value);
                }
                if part.contains(&row) {
                    per_pair.0[row - first] = 0.0;
                }
                let weighed = (per_pair * dt).0.map(f64::from);
                for (sum, value) in row_sum.iter_mut().zip(weighed) {
                    *sum += value;
                }
                for (sum, value) in self.dcum[part].iter_mut().zip(weighed) {
                    *sum -= value;
                }
            }
            self.dcum[row] += row_sum.iter().sum::<f64>();
        }

        let stride = p.ngroups * d_state;
        let grouped = at.grouped(p, segment.start);
        let (b, c) = (&operands.b[grouped..], &operands.c[grouped..]);
        for row in (0..q).step_by(TILE) {
            let rows = TILE.min(q - row);
            let below = row * CHUNK + row;
            let left = Left {
                values: &self.mixing[below..],
                row_stride: 1,
                column_stride: CHUNK,
            };
            let (ds, dx) = (&self.ds[row * width..], &mut self.dx[row * width..]);
            multiply::<FMA, false>([rows, width, q - row], left, ds, width, dx, width);

            let left = Left {
                values: &self.dscores[row * CHUNK..],
                row_stride: CHUNK,
                column_stride: 1,
            };
            let dc = &mut self.dc[row * d_state..];
            multiply::<FMA, false>([rows, d_state, row + rows], left, b, stride, dc, d_state);

            let left = Left {
                values: &self.dscores[below..],
                row_stride: 1,
                column_stride: CHUNK,
            };
            let db = &mut self.db[row * d_state..];
            let c = &c[row * stride..];
            multiply::<FMA, false>([rows, d_state, q - row], left, c, stride, db, d_state);
        }
    }

    /// Through the state that enters and the one that leaves; adds to `dx`, `db`, `dc`, `ddt` and
    /// `dcum` and returns the gradient of `cum_last`. Scales `ds` by `from_start`, so that
    /// [`Scratch::enter`] can use it, and keeps `dx`'s share of the skip weight before that.
    #[inline(always)]
    pub(super) fn between<const FMA: bool>(
        &mut self,
        operands: &Operands<'_>,
        p: &SsdProblem,
        at: Head,
        segment: Segment,
        entering: Option<&[f32]>,
        dstate: Option<&mut Vec<f32>>,
    ) -> f64 {
        let (q, width, d_state) = (segment.length, p.headdim, p.d_state);
        let stride = p.ngroups * d_state;
        let grouped = at.grouped(p, segment.start);
        let (b, c) = (&operands.b[grouped..], &operands.c[grouped..]);
        if p.has_d {
            let skip = operands.d[at.head];
            for (dx, ds) in self.dx[..q * width].iter_mut().zip(&self.ds) {
                *dx += skip * ds;
            }
        }
        if let Some(entering) = entering {
            for (line, decay) in self.ds.chunks_exact_mut(width).zip(self.decays.from_start) {
                for value in line {
                    *value *= decay;
                }
            }
            transpose(entering, [d_state, width], width, &mut self.turned, d_state);
            let left = Left {
                values: &self.ds,
                row_stride: width,
                column_stride: 1,
            };
            let lines = &mut self.grouped_lines;
            let sizes = [q, d_state, width];
            multiply::<FMA, false>(sizes, left, &self.turned, d_state, lines, d_state);
            for t in 0..q {
                let line = &lines[t * d_state..(t + 1) * d_state];
                self.dcum[t] += dot(line, &c[t * stride..t * stride + d_state]);
                for (dc, value) in self.dc[t * d_state..].iter_mut().zip(line) {
                    *dc += value;
                }
            }
        }
        let Some(dstate) = dstate else {
            return 0.0;
        };
        let mut dtotal = match entering {
            Some(entering) => f64::from(self.decays.whole) * dot(dstate, entering),
            None => 0.0,
        };
        let left = Left {
            values: b,
            row_stride: stride,
            column_stride: 1,
        };
        multiply::<FMA, false>(
            [q, width, d_state],
            left,
            dstate,
            width,
            &mut self.lines,
            width,
        );
        transpose(dstate, [d_state, width], width, &mut self.turned, d_state);
        let x = &operands.x[at.inner(p, segment.start)..];
        let row_stride = p.nheads * width;
        let left = Left {
            values: x,
            row_stride,
            column_stride: 1,
        };
        let lines = &mut self.grouped_lines;
        multiply::<FMA, false>(
            [q, d_state, width],
            left,
            &self.turned,
            d_state,
            lines,
            d_state,
        );
        for t in 0..q {
            let to_end = self.decays.to_end[t];
            let weight = to_end * self.decays.dt[t];
            let line = &self.lines[t * width..(t + 1) * width];
            let dweight = dot(line, &x[t * row_stride..t * row_stride + width]);
            for (dx, value) in self.dx[t * width..].iter_mut().zip(line) {
                *dx += weight * value;
            }
            let line = &lines[t * d_state..(t + 1) * d_state];
            for (db, value) in self.db[t * d_state..].iter_mut().zip(line) {
                *db += weight * value;
            }
            self.ddt[t] += f64::from(to_end) * dweight;
            self.dcum[t] -= f64::from(weight) * dweight;
            dtotal += f64::from(weight) * dweight;
        }
        dtotal
    }

    /// Through the cumulative sums; writes everything that has a time axis.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "one inner call")]
    pub(super) fn finish(
        &mut self,
        operands: &Operands<'_>,
        p: &SsdProblem,
        at: Head,
        segment: Segment,
        dtotal: f64,
        out: &Outputs<'_>,
        sums: &mut Sums,
    ) {
        let (width, d_state) = (p.headdim, p.d_state);
        let rate = f64::from(operands.a[at.head]);
        let part = at.head % (p.nheads / p.ngroups);
        let partial = part * p.batch * p.seq * p.ngroups * d_state;
        let mut dlog_decay = dtotal;
        for t in (0..segment.length).rev() {
            let step = segment.start + t;
            dlog_decay += self.dcum[t];
            sums.a += f64::from(self.decays.dt[t]) * dlog_decay;
            let ddt = self.ddt[t] + rate * dlog_decay;
            let ddt = ddt * f64::from(self.decays.dt_slope[t]);
            sums.dt_bias += ddt;
            let grouped = partial + at.grouped(p, step);
            // SAFETY: this task alone writes this head of this row.
            unsafe {
                out.dt.part(at.scalar(p, step), 1)[0] = ddt as f32;
                let dx = &self.dx[t * width..(t + 1) * width];
                out.x.part(at.inner(p, step), width).copy_from_slice(dx);
                let range = t * d_state..(t + 1) * d_state;
                out.b
                    .part(grouped, d_state)
                    .copy_from_slice(&self.db[range.clone()]);
                out.c
                    .part(grouped, d_state)
                    .copy_from_slice(&self.dc[range]);
            }
        }
    }

    /// `dstate` becomes the gradient of the state that enters:
    /// `whole dstate + sum over t of from_start_t C_t ds_t^T`, with `ds` scaled already.
    #[inline(always)]
    pub(super) fn enter<const FMA: bool>(
        &self,
        operands: &Operands<'_>,
        p: &SsdProblem,
        at: Head,
        segment: Segment,
        dstate: &mut [f32],
    ) {
        for value in &mut *dstate {
            *value *= self.decays.whole;
        }
        let left = Left {
            values: &operands.c[at.grouped(p, segment.start)..],
            row_stride: 1,
            column_stride: p.ngroups * p.d_state,
        };
        let width = p.headdim;
        let sizes = [p.d_state, width, segment.length];
        multiply::<FMA, true>(sizes, left, &self.ds, width, dstate, width);
    }
}

/// Scalar product in f64, always in the same order.
#[inline(always)]
fn dot(left: &[f32], right: &[f32]) -> f64 {
    let mut sums = [0.0; LANES];
    for (left, right) in left.chunks(LANES).zip(right.chunks(LANES)) {
        let factors = left.iter().zip(right);
        for (sum, (left, right)) in sums.iter_mut().zip(factors) {
            *sum += f64::from(*left) * f64::from(*right);
        }
    }
    sums.iter().sum()
}
