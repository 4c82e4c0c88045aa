//! State-space duality on the CPU (method 3.2): one task for each row and head, the chunked form in
//! small dense products. The state is held as `[d_state, headdim]`; it is kept at chunk boundaries
//! for the way back. All sums run in a fixed order.

mod backward;
mod chunk;
mod forward;

pub(crate) use backward::backward;
pub(crate) use forward::forward;

use super::SsdProblem;
use crate::host::lanes::{LANES, Lanes};

/// Operands on the host; absent ones are not read.
#[derive(Clone, Copy)]
pub(crate) struct Operands<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) dt: &'a [f32],
    pub(crate) a: &'a [f32],
    pub(crate) b: &'a [f32],
    pub(crate) c: &'a [f32],
    pub(crate) d: &'a [f32],
    pub(crate) z: &'a [f32],
    pub(crate) dt_bias: &'a [f32],
    pub(crate) initial_state: &'a [f32],
    pub(crate) reset: Option<&'a [f32]>,
}

/// Longest chunk in steps, which is also the row stride of square scratch matrices. The problem's
/// `chunk_size` suits devices with many more lanes; here the caches decide.
const CHUNK: usize = 64;

/// Steps `start..start + length` of a row: a chunk, or a part of one between document starts.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Segment {
    start: usize,
    length: usize,
    /// A document starts here: no state enters.
    restarts: bool,
}

impl Segment {
    /// Chunk whose boundary this segment begins at.
    fn chunk(&self) -> Option<usize> {
        self.start
            .is_multiple_of(CHUNK)
            .then_some(self.start / CHUNK)
    }

    /// Whether a state that may be other than zero enters.
    fn state_enters(&self, p: &SsdProblem) -> bool {
        !self.restarts && (self.start > 0 || p.has_initial_state)
    }
}

/// Cuts a row at every [`CHUNK`] steps and at every document start.
fn segments(p: &SsdProblem, reset: Option<&[f32]>, row: usize) -> Vec<Segment> {
    let restarts = |t: usize| reset.is_some_and(|reset| reset[row * p.seq + t] != 0.0);
    let mut segments = Vec::with_capacity(p.seq.div_ceil(CHUNK));
    let mut start = 0;
    while start < p.seq {
        let grid_end = (start / CHUNK + 1) * CHUNK;
        let end = (start + 1..p.seq)
            .find(|&t| t == grid_end || restarts(t))
            .unwrap_or(p.seq);
        segments.push(Segment {
            start,
            length: end - start,
            restarts: restarts(start),
        });
        start = end;
    }
    segments
}

/// Saved states are `[batch, nheads, chunks, d_state, headdim]`.
pub(crate) fn saved_length(p: &SsdProblem) -> usize {
    p.batch * p.nheads * p.seq.div_ceil(CHUNK) * p.d_state * p.headdim
}

/// `out[column, row] = values[row, column]`, for `rows` rows `stride` apart.
#[inline(always)]
fn transpose(
    values: &[f32],
    [rows, columns]: [usize; 2],
    stride: usize,
    out: &mut [f32],
    out_stride: usize,
) {
    assert!(rows == 0 || (rows - 1) * stride + columns <= values.len());
    for column in 0..columns {
        let line = &mut out[column * out_stride..column * out_stride + rows];
        let mut row = 0;
        // Whole lanes of the output at a time: fewer stores than loads.
        while row + LANES <= rows {
            let mut lanes = Lanes::ZERO;
            for lane in 0..LANES {
                // SAFETY: `row + lane < rows` and `column < columns`, in bounds by the assertion.
                lanes.0[lane] = unsafe { *values.get_unchecked((row + lane) * stride + column) };
            }
            lanes.store(&mut line[row..row + LANES]);
            row += LANES;
        }
        while row < rows {
            line[row] = values[row * stride + column];
            row += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_end_at_chunks_and_documents() {
        let p = SsdProblem {
            batch: 2,
            seq: 70,
            nheads: 1,
            headdim: 1,
            ngroups: 1,
            d_state: 1,
            chunk_size: 16,
            has_d: false,
            has_z: false,
            has_dt_bias: false,
            has_initial_state: false,
            dt_softplus: false,
        };
        let mut reset = vec![0.0; 140];
        reset[70] = 1.0;
        reset[70 + 66] = 1.0;
        let row = |row| -> Vec<(usize, usize, bool)> {
            let segments = segments(&p, Some(&reset), row);
            segments
                .iter()
                .map(|s| (s.start, s.length, s.restarts))
                .collect()
        };
        assert_eq!(row(0), [(0, 64, false), (64, 6, false)]);
        assert_eq!(row(1), [(0, 64, true), (64, 2, false), (66, 4, true)]);
    }
}
