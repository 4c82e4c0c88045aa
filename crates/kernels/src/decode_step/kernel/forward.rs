use super::inputs::{conv_channel, filtered, shift_window, step_sizes};
use super::{Layout, normalize, silu, source};
use cubecl::prelude::*;

/// Cube `(i, row)` takes the `i`-th `heads` heads of a row.
#[cube(launch_unchecked)]
pub(in crate::decode_step) fn decode_step_forward<F: Float, W: Float, S: Float, N: Size>(
    rows: &Array<F>,
    window: &Array<W>,
    state: &Array<Vector<S, N>>,
    packed: &Array<f32>,
    y: &mut Array<F>,
    next_window: &mut Array<W>,
    next_state: &mut Array<Vector<S, N>>,
    eps: f32,
    #[comptime] layout: Layout,
    #[define(F, W, S)] _dtypes: [StorageType; 3],
) {
    let channels = comptime!(layout.heads * layout.headdim);
    let d_inner = comptime!(layout.nheads * layout.headdim);
    let d_state = comptime!(layout.d_state);
    let (units, sharers) = comptime!((layout.units, layout.sharers));
    let unit = UNIT_POS_X as usize;
    let sequence = CUBE_POS_Y as usize;
    let row = sequence * layout.row_width;
    let window_first = sequence * comptime!((layout.d_conv - 1) * layout.conv_channels);
    let first_head = CUBE_POS_X as usize * layout.heads;
    let first = first_head * layout.headdim;
    let group = first_head / layout.heads_per_group * d_state;

    let mut xs = SharedMemory::<f32>::new(channels);
    let mut bs = SharedMemory::<f32>::new(comptime!(layout.shared_states()));
    let mut cs = SharedMemory::<f32>::new(comptime!(layout.shared_states()));
    let mut steps = SharedMemory::<f32>::new(layout.heads);
    let mut sums = SharedMemory::<f32>::new(units);
    let mut partial = SharedMemory::<f32>::new(comptime!(channels * sharers));

    // What the cube reads of the convolution: x of its channels, then b and c of its group.
    let shared = comptime!(match layout.conv_covers_bc {
        true => 2 * d_state,
        false => 0,
    });
    for round in 0..comptime!((channels + shared).div_ceil(units)) {
        let at = round * units + unit;
        if at < channels {
            if first + at < d_inner {
                let channel = conv_channel(first + at, layout.x_repeats, layout);
                xs[at] = filtered(rows, window, packed, row, window_first, channel, layout);
            }
        } else if at < channels + shared {
            let item = at - channels;
            let mut channel = comptime!(layout.conv_x + layout.conv_b) + group + item - d_state;
            if item < d_state {
                channel = layout.conv_x + conv_channel(group + item, layout.b_repeats, layout);
            }
            let value = filtered(rows, window, packed, row, window_first, channel, layout);
            if item < d_state {
                bs[item] = value;
            } else {
                cs[item - d_state] = value;
            }
        }
    }
    shift_window(rows, window, next_window, row, window_first, layout);
    step_sizes(rows, packed, &mut steps, &mut sums, row, first_head, layout);
    sync_cube();

    let slots = comptime!(layout.units / layout.sharers);
    let sharer = unit % sharers;
    let vectors = comptime!(layout.sharers * layout.held);
    for round in 0..comptime!(channels.div_ceil(slots)) {
        let at = round * slots + unit / sharers;
        if at < channels && first + at < d_inner {
            let base = (sequence * d_inner + first + at) * vectors + sharer;
            let mut before = Array::<Vector<S, N>>::new(layout.held);
            #[unroll]
            for index in 0..layout.held {
                before[index] = state[base + index * sharers];
            }
            let head = at / layout.headdim;
            let dt = steps[head];
            let input = dt * xs[at];
            let head = first_head + head;
            let group = head / layout.heads_per_group * d_state;
            let mut decay = 0.0f32;
            if comptime!(!layout.a_is_per_state) {
                decay = (dt * packed[layout.packed[4] + head]).exp();
            }
            let mut sum = 0.0f32;
            #[unroll]
            for index in 0..layout.held {
                let mut next = Vector::<S, N>::empty();
                #[unroll]
                for lane in 0..N::value() {
                    let n = (index * sharers + sharer) * N::value() + lane;
                    if comptime!(layout.a_is_per_state) {
                        decay = (dt * packed[layout.packed[4] + head * d_state + n]).exp();
                    }
                    let b = if comptime!(layout.conv_covers_bc) {
                        bs[n]
                    } else {
                        let column = source(group + n, layout.b_repeats, layout.repeat_width);
                        f32::cast_from(rows[row + layout.columns[1] + column])
                    };
                    let c = if comptime!(layout.conv_covers_bc) {
                        cs[n]
                    } else {
                        f32::cast_from(rows[row + layout.columns[2] + group + n])
                    };
                    let value = decay * f32::cast_from(before[index][lane]) + input * b;
                    sum += value * c;
                    next[lane] = S::cast_from(value);
                }
                next_state[base + index * sharers] = next;
            }
            partial[at * sharers + sharer] = sum;
        }
    }
    sync_cube();

    // From here on a unit meets only its own channels in `xs`.
    let mut square = 0.0f32;
    for round in 0..comptime!(channels.div_ceil(units)) {
        let at = round * units + unit;
        if at < channels && first + at < d_inner {
            let head = first_head + at / layout.headdim;
            let mut sum = packed[layout.packed[5] + head] * xs[at];
            #[unroll]
            for sharer in 0..sharers {
                sum += partial[at * sharers + sharer];
            }
            if comptime!(layout.has_z) {
                sum *= silu(f32::cast_from(rows[row + first + at]));
            }
            if comptime!(layout.has_norm) {
                square += sum * sum;
                xs[at] = sum;
            } else {
                y[sequence * d_inner + first + at] = F::cast_from(sum);
            }
        }
    }
    if comptime!(layout.has_norm) {
        let out = sequence * d_inner + first;
        normalize::<F>(&xs, square, &mut sums, packed, y, first, out, eps, layout);
    }
}
