use super::{Inputs, Weights};
use crate::decode_step::DecodeStepProblem;
use crate::host::dispatch::dispatch;
use crate::host::lanes::{LANES, Lanes};

dispatch! {
    /// Fills `inputs` from a row, and moves its window on.
    pub(crate) fn prepare(
        row: &[f32],
        weights: &Weights<'_>,
        p: &DecodeStepProblem,
        window: &mut [f32],
        inputs: Inputs<&mut [f32]>,
    ) = prepare_body
}

#[inline(always)]
fn prepare_body<const FMA: bool>(
    row: &[f32],
    weights: &Weights<'_>,
    p: &DecodeStepProblem,
    window: &mut [f32],
    inputs: Inputs<&mut [f32]>,
) {
    let s = &p.shape;
    let [_, b_at, c_at, dt_at] = p.columns();
    let [x_width, b_width] = p.conv_widths();
    gather(row, p, inputs.filtered);
    convolve::<FMA>(weights, p, window, inputs.filtered);
    repeat(&inputs.filtered[..x_width], s.repeat_width, inputs.x);
    let (b, c) = match s.conv_covers_bc {
        true => inputs.filtered[x_width..].split_at(b_width),
        false => (&row[b_at..b_at + s.b_width], &row[c_at..c_at + s.c_width]),
    };
    repeat(b, s.repeat_width, inputs.b);
    inputs.c.copy_from_slice(c);

    let low = &row[dt_at..dt_at + p.dt_width];
    inputs.dt.copy_from_slice(weights.dt_bias);
    match p.has_dt_weight {
        true => project::<FMA>(low, weights.dt_weight, inputs.dt),
        false => add_rows::<FMA, 1>([1.0], low, inputs.dt),
    }
    // Whole blocks have a constant width, so that they stay in registers.
    let whole = p.nheads - p.nheads % LANES;
    let (dt, rest) = inputs.dt.split_at_mut(whole);
    for dt in dt.chunks_exact_mut(LANES) {
        step_sizes::<FMA>(dt);
    }
    step_sizes::<FMA>(rest);
    if !p.a_is_per_state {
        decays_body::<FMA>(inputs.dt, weights, inputs.decay);
    }
}

/// Softplus of at most [`LANES`] values.
#[inline(always)]
fn step_sizes<const FMA: bool>(dt: &mut [f32]) {
    Lanes::load(dt).softplus::<FMA>().store(dt);
}

dispatch! {
    /// Decays of heads that have one, from their step sizes.
    pub(crate) fn decays(dt: &[f32], weights: &Weights<'_>, decays: &mut [f32]) = decays_body
}

#[inline(always)]
fn decays_body<const FMA: bool>(dt: &[f32], weights: &Weights<'_>, decays: &mut [f32]) {
    let steps = dt.chunks(LANES).zip(weights.a.chunks(LANES));
    for (decay, (dt, a)) in decays.chunks_mut(LANES).zip(steps) {
        (Lanes::load(dt) * Lanes::load(a)).exp::<FMA>().store(decay);
    }
}

/// Fills `filtered` with what a row gives to the convolution.
pub(crate) fn gather(row: &[f32], p: &DecodeStepProblem, filtered: &mut [f32]) {
    let s = &p.shape;
    let [x_at, b_at, c_at, _] = p.columns();
    let [x_width, b_width] = p.conv_widths();
    let (into_x, into_bc) = filtered.split_at_mut(x_width);
    repeat(&row[x_at..x_at + s.x_width], s.repeat_width, into_x);
    if s.conv_covers_bc {
        let (into_b, into_c) = into_bc.split_at_mut(b_width);
        repeat(&row[b_at..b_at + s.b_width], s.repeat_width, into_b);
        into_c.copy_from_slice(&row[c_at..c_at + s.c_width]);
    }
}

/// Adds the product of `low` and `weight`, `[low.len(), sums.len()]`, to `sums`.
#[inline(always)]
fn project<const FMA: bool>(low: &[f32], weight: &[f32], sums: &mut [f32]) {
    const ROWS: usize = 4;
    let width = sums.len();
    let (blocks, rest) = low.as_chunks::<ROWS>();
    let (block_rows, rest_rows) = weight.split_at(blocks.len() * ROWS * width);
    for (factors, rows) in blocks.iter().zip(block_rows.chunks_exact(ROWS * width)) {
        add_rows::<FMA, ROWS>(*factors, rows, sums);
    }
    for (factor, row) in rest.iter().zip(rest_rows.chunks_exact(width)) {
        add_rows::<FMA, 1>([*factor], row, sums);
    }
}

/// Adds `N` rows, each times its factor, to `sums`.
#[inline(always)]
fn add_rows<const FMA: bool, const N: usize>(factors: [f32; N], rows: &[f32], sums: &mut [f32]) {
    let width = sums.len();
    let whole = width - width % LANES;
    for first in (0..whole).step_by(LANES) {
        add_block::<FMA, N>(&factors, rows, sums, first, LANES);
    }
    if whole < width {
        add_block::<FMA, N>(&factors, rows, sums, whole, width - whole);
    }
}

#[inline(always)]
fn add_block<const FMA: bool, const N: usize>(
    factors: &[f32; N],
    rows: &[f32],
    sums: &mut [f32],
    first: usize,
    width: usize,
) {
    let stride = sums.len();
    let out = &mut sums[first..first + width];
    let mut sum = Lanes::load(out);
    for (index, factor) in factors.iter().enumerate() {
        let at = index * stride + first;
        sum = Lanes::splat(*factor).mul_add::<FMA>(Lanes::load(&rows[at..at + width]), sum);
    }
    sum.store(out);
}

/// Filters and activates the inputs in `values`, and shifts them into the window.
#[inline(always)]
fn convolve<const FMA: bool>(
    weights: &Weights<'_>,
    p: &DecodeStepProblem,
    window: &mut [f32],
    values: &mut [f32],
) {
    let channels = values.len();
    // Whole blocks have a constant width, so that they stay in registers.
    let whole = channels - channels % LANES;
    for first in (0..whole).step_by(LANES) {
        convolve_block::<FMA>(weights, p, window, values, first, LANES);
    }
    if whole < channels {
        convolve_block::<FMA>(weights, p, window, values, whole, channels - whole);
    }
}

/// Channels `first..first + width` of [`convolve`].
#[inline(always)]
fn convolve_block<const FMA: bool>(
    weights: &Weights<'_>,
    p: &DecodeStepProblem,
    window: &mut [f32],
    values: &mut [f32],
    first: usize,
    width: usize,
) {
    let channels = values.len();
    let earlier = p.d_conv - 1;
    let tap = |tap: usize| tap * channels + first..tap * channels + first + width;
    let input = Lanes::load(&values[first..first + width]);
    let mut sum = Lanes::load(&weights.conv_bias[first..first + width]);
    for index in 0..earlier {
        let line = Lanes::load(&window[tap(index)]);
        sum = line.mul_add::<FMA>(Lanes::load(&weights.conv_weight[tap(index)]), sum);
        if index > 0 {
            line.store(&mut window[tap(index - 1)]);
        }
    }
    input.store(&mut window[tap(earlier - 1)]);
    sum = input.mul_add::<FMA>(Lanes::load(&weights.conv_weight[tap(earlier)]), sum);
    (sum * sum.sigmoid::<FMA>()).store(&mut values[first..first + width]);
}

/// Repeats each piece of `width` values in place until `out` is full.
fn repeat(values: &[f32], width: usize, out: &mut [f32]) {
    let times = out.len() / values.len();
    if times == 1 {
        return out.copy_from_slice(values);
    }
    for (copies, piece) in (out.chunks_exact_mut(width * times)).zip(values.chunks_exact(width)) {
        for copy in copies.chunks_exact_mut(width) {
            copy.copy_from_slice(piece);
        }
    }
}
