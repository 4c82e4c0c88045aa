use super::Tile;
use crate::decode_step::kernel::inputs::{conv_channel, conv_input, step_sizes};
use crate::decode_step::kernel::{silu, source};
use cubecl::prelude::*;

/// Fills the cache and the raw inputs of the convolution. Cubes `(i, token, sequence)`: the first
/// take one item a unit, those after them step sizes. A sequence has `lines` raw inputs.
#[cube(launch_unchecked)]
pub(in crate::verify) fn verify_prepare<F: Float, W: Float>(
    rows: &Array<F>,
    conv_inputs: &Array<W>,
    kept: &Array<f32>,
    packed: &Array<f32>,
    next_conv_inputs: &mut Array<W>,
    cache: &mut Array<f32>,
    lines: usize,
    #[comptime] tile: Tile,
    #[define(F, W)] _dtypes: [StorageType; 2],
) {
    let layout = comptime!(tile.layout);
    let [_, b_at, c_at, dt_at, width] = comptime!(tile.entry());
    let channels = comptime!(layout.conv_channels);
    let earlier = comptime!(layout.d_conv - 1);
    let item_cubes = comptime!(tile.items().div_ceil(layout.units));
    let unit = UNIT_POS_X as usize;
    let token = CUBE_POS_Y as usize;
    let sequence = CUBE_POS_Z as usize;
    let tokens = CUBE_COUNT_Y as usize;
    let first_row = sequence * tokens * layout.row_width;
    let row = first_row + token * layout.row_width;
    let entry = (sequence * tokens + token) * width;
    let mut steps = SharedMemory::<f32>::new(layout.heads);
    let mut sums = SharedMemory::<f32>::new(layout.units);

    if CUBE_POS_X as usize >= item_cubes {
        let first_head = (CUBE_POS_X as usize - item_cubes) * layout.heads;
        step_sizes(rows, packed, &mut steps, &mut sums, row, first_head, layout);
        if unit < layout.heads && first_head + unit < layout.nheads {
            cache[entry + dt_at + first_head + unit] = steps[unit];
        }
    } else {
        let item = CUBE_POS_X as usize * layout.units + unit;
        // The line of the first input that this call's first token reads.
        let line = sequence * lines + usize::cast_from(kept[sequence]);
        let first_line = line * channels;
        if item < dt_at {
            let mut channel = conv_channel(item, layout.x_repeats, layout);
            let mut is_filtered = true;
            let mut column = 0usize.runtime();
            if item >= c_at {
                channel = comptime!(layout.conv_x + layout.conv_b) + item - c_at;
                is_filtered = comptime!(layout.conv_covers_bc).runtime();
                column = layout.columns[2] + item - c_at;
            } else if item >= b_at {
                channel = layout.conv_x + conv_channel(item - b_at, layout.b_repeats, layout);
                is_filtered = comptime!(layout.conv_covers_bc).runtime();
                column =
                    layout.columns[1] + source(item - b_at, layout.b_repeats, layout.repeat_width);
            }
            let mut value = f32::cast_from(rows[row + column]);
            if is_filtered {
                let mut sum = packed[layout.packed[1] + channel];
                #[unroll]
                for tap in 0..layout.d_conv {
                    let line = token + tap;
                    let weight = packed[layout.packed[0] + tap * channels + channel];
                    if line < earlier {
                        let at = first_line + line * channels + channel;
                        sum += f32::cast_from(conv_inputs[at]) * weight;
                    } else {
                        let row = first_row + (line - earlier) * layout.row_width;
                        sum += conv_input(rows, row, channel, layout) * weight;
                    }
                }
                value = silu(sum);
            }
            cache[entry + item] = value;
        } else if item < dt_at + channels {
            let channel = item - dt_at;
            let first = sequence * (tokens + earlier) * channels + channel;
            let input = conv_input(rows, row, channel, layout);
            next_conv_inputs[first + (earlier + token) * channels] = W::cast_from(input);
            if token == 0 {
                #[unroll]
                for line in 0..earlier {
                    let value = conv_inputs[first_line + line * channels + channel];
                    next_conv_inputs[first + line * channels] = value;
                }
            }
        }
    }
}
