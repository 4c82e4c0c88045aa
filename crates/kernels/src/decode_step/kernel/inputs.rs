use super::{Layout, silu, source};
use crate::cube::activation::softplus;
use cubecl::prelude::*;

/// The raw input of channel `channel` of the convolution, from the row that starts at `row`.
#[cube]
pub(crate) fn conv_input<F: Float>(
    rows: &Array<F>,
    row: usize,
    channel: usize,
    #[comptime] layout: Layout,
) -> f32 {
    let x_width = comptime!(layout.conv_x);
    let b_end = comptime!(layout.conv_x + layout.conv_b);
    let mut column = row + layout.columns[0];
    if channel < x_width {
        column += unrepeated(channel, layout.x_repeats, layout);
    } else if channel < b_end {
        let at = unrepeated(channel - x_width, layout.b_repeats, layout);
        column = row + layout.columns[1] + at;
    } else {
        column = row + layout.columns[2] + channel - b_end;
    }
    f32::cast_from(rows[column])
}

/// Source in a row of a channel that is repeated before the convolution, or not at all.
#[cube]
fn unrepeated(channel: usize, #[comptime] repeats: usize, #[comptime] layout: Layout) -> usize {
    if comptime!(layout.repeat_before_conv) {
        source(channel, repeats, layout.repeat_width)
    } else {
        channel
    }
}

/// Channel of the convolution that the `at`-th channel of x or b of query width reads.
#[cube]
pub(crate) fn conv_channel(
    at: usize,
    #[comptime] repeats: usize,
    #[comptime] layout: Layout,
) -> usize {
    if comptime!(layout.repeat_before_conv) {
        at
    } else {
        source(at, repeats, layout.repeat_width)
    }
}

/// Output of the convolution for one channel.
#[cube]
pub(crate) fn filtered<F: Float, W: Float>(
    rows: &Array<F>,
    window: &Array<W>,
    packed: &Array<f32>,
    row: usize,
    window_first: usize,
    channel: usize,
    #[comptime] layout: Layout,
) -> f32 {
    let channels = comptime!(layout.conv_channels);
    let earlier = comptime!(layout.d_conv - 1);
    let mut sum = packed[layout.packed[1] + channel];
    #[unroll]
    for tap in 0..earlier {
        let at = tap * channels + channel;
        sum += f32::cast_from(window[window_first + at]) * packed[layout.packed[0] + at];
    }
    let input = conv_input(rows, row, channel, layout);
    sum += input * packed[layout.packed[0] + earlier * channels + channel];
    silu(sum)
}

/// Moves the channels of a window that this cube has to move on by one token.
#[cube]
pub(crate) fn shift_window<F: Float, W: Float>(
    rows: &Array<F>,
    window: &Array<W>,
    next_window: &mut Array<W>,
    row: usize,
    window_first: usize,
    #[comptime] layout: Layout,
) {
    let channels = comptime!(layout.conv_channels);
    let earlier = comptime!(layout.d_conv - 1);
    let stride = CUBE_COUNT_X as usize * layout.units;
    let first = CUBE_POS_X as usize * layout.units + UNIT_POS_X as usize;
    for round in 0..(stride + channels - 1) / stride {
        let channel = first + round * stride;
        if channel < channels {
            #[unroll]
            for tap in 1..earlier {
                let at = window_first + tap * channels + channel;
                next_window[at - channels] = window[at];
            }
            let at = window_first + comptime!((layout.d_conv - 2) * channels) + channel;
            next_window[at] = W::cast_from(conv_input(rows, row, channel, layout));
        }
    }
}

/// Step sizes of the cube's heads, into `steps`; `sums` has a place for each unit. Every unit has
/// to call it.
#[cube]
pub(crate) fn step_sizes<F: Float>(
    rows: &Array<F>,
    packed: &Array<f32>,
    steps: &mut SharedMemory<f32>,
    sums: &mut SharedMemory<f32>,
    row: usize,
    first_head: usize,
    #[comptime] layout: Layout,
) {
    let heads = comptime!(layout.heads);
    let unit = UNIT_POS_X as usize;
    let column = row + layout.columns[3];
    if comptime!(layout.has_dt_weight) {
        let splits = comptime!(layout.units / layout.heads);
        let (head, split) = (first_head + unit % heads, unit / heads);
        let mut sum = 0.0f32;
        if head < layout.nheads && split < splits {
            for round in 0..comptime!(layout.dt_width.div_ceil(splits)) {
                let rank = split + round * splits;
                if rank < layout.dt_width {
                    let weight = packed[layout.packed[2] + rank * layout.nheads + head];
                    sum += f32::cast_from(rows[column + rank]) * weight;
                }
            }
        }
        sums[unit] = sum;
        sync_cube();
        if unit < heads && head < layout.nheads {
            let mut dt = packed[layout.packed[3] + head];
            for split in 0..splits {
                dt += sums[split * heads + unit];
            }
            steps[unit] = softplus(dt);
        }
    } else {
        let head = first_head + unit;
        if unit < heads && head < layout.nheads {
            let dt = packed[layout.packed[3] + head] + f32::cast_from(rows[column + head]);
            steps[unit] = softplus(dt);
        }
    }
}
