use super::cooperative::{PLANE, SIDE, STAGED, load_tile, multiply, results, room, stage, stride};
use super::rows::{Lines, read_rows, room_for_rows};
use super::{Mix, Sizes, TILE, line, plane};
use cubecl::cmma;
use cubecl::prelude::*;

/// What the kernel is compiled for: widths are multiples of 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::ssd) struct CooperativeMix {
    pub(in crate::ssd) mix: Mix,
    /// Elements of query and key.
    pub(in crate::ssd) inner: usize,
    /// Elements of value and result.
    pub(in crate::ssd) width: usize,
}

/// As `ssd_mix`, in which all uses are described, on matrix units: one cube has 64 steps of all columns
/// of the result. Factors are rounded to the operands' type, sums are f32. `skipped` is `value`, element
/// by element.
///
/// Cubes: tiles of steps of rows, heads or groups.
#[cube(launch_unchecked)]
pub(in crate::ssd) fn ssd_mix_cooperative<F: Float, N: Size>(
    query: &Tensor<Vector<F, N>>,
    key: &Tensor<Vector<F, N>>,
    value: &Tensor<Vector<F, N>>,
    own: &Tensor<F>,
    skipped: &Tensor<F>,
    states: &Tensor<Vector<f32, N>>,
    scratch: &mut Tensor<f32>,
    out: &mut Tensor<F>,
    sizes: &Sizes,
    dots_plane: usize,
    skip_plane: usize,
    #[comptime] cooperative: CooperativeMix,
    #[define(F)] _dtype: StorageType,
) {
    let tile = comptime!(TILE);
    let lanes = N::value();
    let mix = comptime!(cooperative.mix);
    let inner = comptime!(cooperative.inner);
    let width = comptime!(cooperative.width);
    let unit = UNIT_POS as usize;
    let lane = unit % comptime!(PLANE);
    let band = unit / comptime!(PLANE) * comptime!(SIDE);
    let tiles = sizes.seq.div_ceil(tile);
    let batch = CUBE_POS_X as usize / tiles;
    let start = CUBE_POS_X as usize % tiles * tile;
    let stream = CUBE_POS_Y as usize;
    let held = clamp_max(tile, sizes.seq - start);
    let chunk = start / sizes.chunk;
    let chunk_start = chunk * sizes.chunk;
    let chunk_end = clamp_max(chunk_start + sizes.chunk, sizes.seq);
    let ratio = sizes.nheads / sizes.ngroups;

    let mut inner_streams = sizes.ngroups;
    let mut streams = sizes.nheads;
    let mut first_head = stream;
    let mut heads = 1usize.runtime();
    let mut seen = chunk_start;
    let mut seen_end = start + tile;
    let mut slot = chunk;
    if comptime!(!mix.into_heads) {
        inner_streams = sizes.nheads;
        streams = sizes.ngroups;
        first_head = stream * ratio;
        heads = ratio;
    }
    if comptime!(mix.reverse) {
        seen = start;
        seen_end = chunk_end;
        slot += 1;
    }
    let inner_step = inner_streams * comptime!(inner / lanes);
    let value_step = streams * comptime!(width / lanes);
    let value_first = (batch * sizes.seq * streams + stream) * width;

    let mut left = room::<F, N>(TILE, inner);
    let mut right = room::<F, N>(TILE, inner);
    let mut values = room::<F, N>(TILE, width);
    let mut mixed = SharedMemory::<F>::new_aligned(comptime!(TILE * stride(TILE)), 128usize);
    let mut staged = SharedMemory::<f32>::new_aligned(comptime!(TILE * STAGED), 128usize);
    let mut rows = room_for_rows();
    let sums = results(width);
    let mut before = Array::<f32>::new(SIDE);
    #[unroll]
    for row in 0..comptime!(SIDE) {
        before[row] = 0.0f32;
    }

    for index in 0..heads {
        let head = first_head + index;
        let mut inner_stream = head;
        if comptime!(mix.into_heads) {
            inner_stream = head / ratio;
        }
        let inner_first =
            (batch * sizes.seq * inner_streams + inner_stream) * comptime!(inner / lanes);
        let own_first = inner_first + start * inner_step;
        let lines = Lines {
            dt: line(sizes, plane::DT, batch, head),
            cum: line(sizes, plane::CUM, batch, head),
            rest: line(sizes, plane::REST, batch, head),
            first: line(sizes, plane::FIRST, batch, head),
        };
        read_rows(
            &mut rows,
            scratch,
            lines,
            start,
            chunk_start,
            chunk_end,
            held,
            mix,
        );

        // From the state at the boundary, in pieces of 64 of its rows.
        load_tile::<F, F, N>(
            query,
            &mut left,
            &rows.decay,
            own_first,
            inner_step,
            held,
            inner,
            true,
        );
        let state = (batch * (sizes.chunks + 1) + slot) * sizes.nheads + head;
        let state_first = state * sizes.headdim * sizes.d_state / lanes;
        if comptime!(mix.into_heads) {
            #[unroll]
            for piece in 0..comptime!(width.div_ceil(TILE)) {
                let columns = comptime!((width - piece * TILE).min(TILE));
                load_tile::<f32, F, N>(
                    states,
                    &mut right,
                    &rows.decay,
                    state_first + comptime!(piece * TILE * inner / lanes),
                    comptime!(inner / lanes).runtime(),
                    columns.runtime(),
                    inner,
                    false,
                );
                sync_cube();
                multiply::<F, N>(
                    &left,
                    band * comptime!(stride(inner) / lanes),
                    comptime!(stride(inner)),
                    &right,
                    comptime!(stride(inner)),
                    &sums,
                    comptime!(piece * TILE),
                    columns,
                    inner,
                    true,
                );
                sync_cube();
            }
        } else {
            #[unroll]
            for piece in 0..comptime!(inner.div_ceil(TILE)) {
                let depth = comptime!((inner - piece * TILE).min(TILE));
                load_tile::<f32, F, N>(
                    states,
                    &mut values,
                    &rows.decay,
                    state_first + comptime!(piece * TILE * width / lanes),
                    comptime!(width / lanes).runtime(),
                    depth.runtime(),
                    width,
                    false,
                );
                sync_cube();
                multiply::<F, N>(
                    &left,
                    band * comptime!(stride(inner) / lanes) + comptime!(piece * TILE / lanes),
                    comptime!(stride(inner)),
                    &values,
                    comptime!(stride(width)),
                    &sums,
                    0usize,
                    width,
                    depth,
                    false,
                );
                sync_cube();
            }
        }

        // From the steps of the chunk.
        load_tile::<F, F, N>(
            query,
            &mut left,
            &rows.decay,
            own_first,
            inner_step,
            held,
            inner,
            false,
        );
        for other in 0..(seen_end - seen).div_ceil(tile) {
            let begin = seen + other * tile;
            let other_held = clamp_max(tile, sizes.seq - begin);
            load_tile::<F, F, N>(
                key,
                &mut right,
                &rows.decay,
                inner_first + begin * inner_step,
                inner_step,
                other_held,
                inner,
                false,
            );
            load_tile::<F, F, N>(
                value,
                &mut values,
                &rows.decay,
                value_first / lanes + begin * value_step,
                value_step,
                other_held,
                width,
                false,
            );
            sync_cube();
            let scores = results(TILE);
            multiply::<F, N>(
                &left,
                band * comptime!(stride(inner) / lanes),
                comptime!(stride(inner)),
                &right,
                comptime!(stride(inner)),
                &scores,
                0usize,
                TILE,
                inner,
                true,
            );
            stage(&scores, &mut staged, 0usize, TILE);
            #[unroll]
            for half in 0..comptime!(TILE / PLANE) {
                let local = lane + comptime!(half * PLANE);
                let step = clamp_max(begin + local, sizes.seq - 1);
                let cum = scratch[lines.cum + step];
                let rest = scratch[lines.rest + step];
                let first = scratch[lines.first + step];
                let mut weight = 1.0f32;
                if comptime!(!mix.reverse) {
                    weight = scratch[lines.dt + step];
                }
                for index in 0..comptime!(SIDE) {
                    let row = band + index;
                    let own_step = start + row;
                    let mut mixing = 0.0f32;
                    if local < other_held && own_step < sizes.seq {
                        if comptime!(mix.reverse) {
                            let place = f32::cast_from(own_step - chunk_start);
                            if step >= own_step && place >= first {
                                mixing = (cum - rows.cum[row] + (rest - rows.rest[row])).exp();
                            }
                            if comptime!(!mix.into_heads) {
                                mixing *= rows.dt[row];
                            }
                        } else {
                            let place = f32::cast_from(step - chunk_start);
                            if step <= own_step && place >= rows.first[row] {
                                mixing =
                                    (rows.cum[row] - cum + (rows.rest[row] - rest)).exp() * weight;
                            }
                        }
                    }
                    let score = staged[row * comptime!(STAGED) + local];
                    mixed[row * comptime!(stride(TILE)) + local] = F::cast_from(score * mixing);
                }
            }
            sync_plane();
            #[unroll]
            for k in 0..comptime!(TILE / SIDE) {
                let at = band * comptime!(stride(TILE)) + comptime!(k * SIDE);
                let a = cmma::Matrix::<F>::from_slice(
                    cmma::MatrixIdent::A,
                    SIDE,
                    SIDE,
                    SIDE,
                    cmma::MatrixLayout::RowMajor,
                    &mixed.slice(at, mixed.len()),
                    comptime!(stride(TILE) as u32).runtime(),
                );
                #[unroll]
                for j in 0..comptime!(width / SIDE) {
                    let at = comptime!((k * SIDE * stride(width) + j * SIDE) / lanes);
                    let b = cmma::Matrix::<Vector<F, N>>::from_slice(
                        cmma::MatrixIdent::B,
                        SIDE,
                        SIDE,
                        SIDE,
                        cmma::MatrixLayout::RowMajor,
                        &values.slice(at, values.len()),
                        comptime!(stride(width) as u32).runtime(),
                    );
                    let sum = sums.index(j);
                    cmma::execute::<F, Vector<F, N>, f32, f32>(&a, &b, sum, sum);
                }
            }
            sync_cube();
        }

        if comptime!(mix.has_dots && !mix.into_heads) {
            // The results are sums over heads so far: a head's share is the difference.
            let mut dots = Array::<f32>::new(SIDE);
            #[unroll]
            for row in 0..comptime!(SIDE) {
                dots[row] = 0.0f32;
            }
            #[unroll]
            for piece in 0..comptime!(width.div_ceil(TILE)) {
                let columns = comptime!((width - piece * TILE).min(TILE));
                stage(&sums, &mut staged, comptime!(piece * TILE), columns);
                #[unroll]
                for row in 0..comptime!(SIDE) {
                    let step = start + band + row;
                    #[unroll]
                    for half in 0..comptime!(columns.div_ceil(PLANE)) {
                        let local = lane + comptime!(half * PLANE);
                        if step < sizes.seq && local < columns {
                            let at = value_first
                                + step * streams * width
                                + comptime!(piece * TILE)
                                + local;
                            dots[row] += f32::cast_from(own[at])
                                * staged[(band + row) * comptime!(STAGED) + local];
                        }
                    }
                }
            }
            #[unroll]
            for row in 0..comptime!(SIDE) {
                let step = start + band + row;
                let dot = plane_sum(dots[row]);
                if lane == 0 && step < sizes.seq {
                    scratch[line(sizes, dots_plane, batch, head) + step] = dot - before[row];
                }
                before[row] = dot;
            }
        }
    }

    let mut dots = Array::<f32>::new(SIDE);
    let mut skips = Array::<f32>::new(SIDE);
    #[unroll]
    for row in 0..comptime!(SIDE) {
        dots[row] = 0.0f32;
        skips[row] = 0.0f32;
    }
    let mut skip = 0.0f32;
    if comptime!(mix.has_d) {
        skip = scratch[line(sizes, mix.planes, 0, 0) + stream];
    }
    #[unroll]
    for piece in 0..comptime!(width.div_ceil(TILE)) {
        let columns = comptime!((width - piece * TILE).min(TILE));
        stage(&sums, &mut staged, comptime!(piece * TILE), columns);
        #[unroll]
        for row in 0..comptime!(SIDE) {
            let step = start + band + row;
            #[unroll]
            for half in 0..comptime!(columns.div_ceil(PLANE)) {
                let local = lane + comptime!(half * PLANE);
                if step < sizes.seq && local < columns {
                    let at = value_first + step * streams * width + comptime!(piece * TILE) + local;
                    let mut result = staged[(band + row) * comptime!(STAGED) + local];
                    if comptime!(mix.has_dots && mix.into_heads) {
                        dots[row] += f32::cast_from(own[at]) * result;
                    }
                    if comptime!(mix.reverse && mix.into_heads) {
                        result *= rows.dt[band + row];
                    }
                    if comptime!(mix.has_d) {
                        let value = f32::cast_from(skipped[at]);
                        result += skip * value;
                        if comptime!(mix.has_dots) {
                            skips[row] += f32::cast_from(own[at]) * value;
                        }
                    }
                    out[at] = F::cast_from(result);
                }
            }
        }
    }
    if comptime!(mix.has_dots && mix.into_heads) {
        #[unroll]
        for row in 0..comptime!(SIDE) {
            let step = start + band + row;
            let dot = plane_sum(dots[row]);
            if lane == 0 && step < sizes.seq {
                scratch[line(sizes, dots_plane, batch, stream) + step] = dot;
            }
            if comptime!(mix.has_d) {
                let dot = plane_sum(skips[row]);
                if lane == 0 && step < sizes.seq {
                    scratch[line(sizes, skip_plane, batch, stream) + step] = dot;
                }
            }
        }
    }
}
