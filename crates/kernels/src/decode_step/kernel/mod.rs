//! The decode step on a GPU: one cube for some heads of one sequence, from the row to the output.

mod forward;
pub(crate) mod inputs;

pub(super) use forward::decode_step_forward;

use super::DecodeStepProblem;
use cubecl::prelude::*;

/// How heads are laid over the units of a cube, and where everything lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Layout {
    /// Units of a cube, a power of two.
    pub(crate) units: usize,
    /// Heads of a cube; one if heads convolve their own b and c, or are normalised.
    pub(crate) heads: usize,
    /// Units that share a channel's states, a power of two.
    pub(crate) sharers: usize,
    /// Vectors of states of each of them.
    pub(crate) held: usize,
    pub(crate) nheads: usize,
    pub(crate) headdim: usize,
    pub(crate) d_state: usize,
    pub(crate) d_conv: usize,
    pub(crate) dt_width: usize,
    /// Heads that share b and c.
    pub(crate) heads_per_group: usize,
    pub(crate) repeat_width: usize,
    pub(crate) x_repeats: usize,
    pub(crate) b_repeats: usize,
    pub(crate) repeat_before_conv: bool,
    pub(crate) conv_covers_bc: bool,
    pub(crate) has_z: bool,
    pub(crate) has_dt_weight: bool,
    pub(crate) a_is_per_state: bool,
    pub(crate) has_norm: bool,
    pub(crate) row_width: usize,
    /// First column of x, b, c and dt in a row.
    pub(crate) columns: [usize; 4],
    /// Channels of x and b in the convolution, and of all of it.
    pub(crate) conv_x: usize,
    pub(crate) conv_b: usize,
    pub(crate) conv_channels: usize,
    /// First elements of the packed weights, in their order.
    pub(crate) packed: [usize; 7],
}

impl Layout {
    /// The part that follows from the problem; the caller chooses the first four.
    pub(crate) fn new(p: &DecodeStepProblem, [units, heads, sharers, held]: [usize; 4]) -> Self {
        let s = &p.shape;
        let [conv_x, conv_b] = p.conv_widths();
        let mut first = 0;
        let packed = p.packed_lengths().map(|length| {
            first += length;
            first - length
        });
        Self {
            units,
            heads,
            sharers,
            held,
            nheads: p.nheads,
            headdim: s.headdim,
            d_state: s.d_state,
            d_conv: p.d_conv,
            dt_width: p.dt_width,
            heads_per_group: p.nheads / p.ngroups(),
            repeat_width: s.repeat_width,
            x_repeats: p.x_repeats(),
            b_repeats: p.b_repeats(),
            repeat_before_conv: s.repeat_before_conv,
            conv_covers_bc: s.conv_covers_bc,
            has_z: s.has_z,
            has_dt_weight: p.has_dt_weight,
            a_is_per_state: p.a_is_per_state,
            has_norm: p.has_norm,
            row_width: p.row_width(),
            columns: p.columns(),
            conv_x,
            conv_b,
            conv_channels: p.conv_channels(),
            packed,
        }
    }

    /// Channels of a cube.
    pub(crate) fn channels(&self) -> usize {
        self.heads * self.headdim
    }

    /// States whose b and c a cube holds.
    pub(crate) fn shared_states(&self) -> usize {
        match self.conv_covers_bc {
            true => self.d_state,
            false => 1,
        }
    }

    /// Bytes of shared memory.
    pub(crate) fn shared_bytes(&self) -> usize {
        let channels = self.channels();
        let floats = channels + channels * self.sharers + self.heads + self.units;
        (floats + 2 * self.shared_states()) * size_of::<f32>()
    }
}

/// Where the `at`-th of repeated channels comes from.
#[cube]
pub(crate) fn source(at: usize, #[comptime] repeats: usize, #[comptime] width: usize) -> usize {
    if comptime!(repeats == 1) {
        at
    } else {
        at / comptime!(width * repeats) * width + at % width
    }
}

/// `x * sigmoid(x)`.
#[cube]
pub(crate) fn silu(x: f32) -> f32 {
    x / (1.0f32 + (-x).exp())
}

/// The gated norm of a cube's channels: `values` over their root mean square times the weights, to `y`
/// from `out` on. `square` is the unit's part of the sum of squares, `first` the first channel.
#[cube]
pub(crate) fn normalize<F: Float>(
    values: &SharedMemory<f32>,
    square: f32,
    sums: &mut SharedMemory<f32>,
    packed: &Array<f32>,
    y: &mut Array<F>,
    first: usize,
    out: usize,
    eps: f32,
    #[comptime] layout: Layout,
) {
    let channels = comptime!(layout.channels());
    let units = comptime!(layout.units);
    let unit = UNIT_POS_X as usize;
    sums[unit] = square;
    sync_cube();
    #[unroll]
    for round in 0..comptime!(layout.units.trailing_zeros()) {
        let stride = comptime!(layout.units >> (round + 1));
        if unit < stride {
            let other = sums[unit + stride];
            sums[unit] += other;
        }
        sync_cube();
    }
    let mean = sums[0] / f32::cast_from(channels);
    let scale = 1.0f32 / (mean + eps).sqrt();
    for round in 0..comptime!(channels.div_ceil(units)) {
        let at = round * units + unit;
        if at < channels {
            let weight = packed[layout.packed[6] + first + at];
            y[out + at] = F::cast_from(values[at] * scale * weight);
        }
    }
}
