//! One cube for a row: sums in one pass over the logits, the gradient in a second.

use crate::cube::sum::{across, lane_of, largest_of};
use cubecl::prelude::*;

/// Below every logit, and finite so that differences with it are no NaN.
const LOWEST: f32 = -3.0e38;

/// What a launch is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Layout {
    /// Units of a cube, a power of two.
    pub(super) units: usize,
    /// Whether there are logits of a teacher.
    pub(super) has_teacher: bool,
    /// Whether the gradient is written.
    pub(super) has_gradient: bool,
}

/// Running sums of the units: maxima and sums of the exponentials below them, for student and
/// teacher, and the sum of `e^(t - max) (t - s)`.
#[derive(CubeType)]
struct Partials {
    student_max: SharedMemory<f32>,
    student_sum: SharedMemory<f32>,
    teacher_max: SharedMemory<f32>,
    teacher_sum: SharedMemory<f32>,
    weighted: SharedMemory<f32>,
}

/// Merges the sums of all units into those of the first, in a fixed order.
#[cube]
fn merge(partials: &mut Partials, #[comptime] layout: Layout) {
    let unit = UNIT_POS as usize;
    sync_cube();
    #[unroll]
    for round in 0..comptime!(layout.units.trailing_zeros()) {
        let stride = comptime!(layout.units >> (round + 1));
        if unit < stride {
            let (mine, other) = (
                partials.student_max[unit],
                partials.student_max[unit + stride],
            );
            let top = max(mine, other);
            let sum = partials.student_sum[unit] * (mine - top).exp()
                + partials.student_sum[unit + stride] * (other - top).exp();
            partials.student_max[unit] = top;
            partials.student_sum[unit] = sum;
            if comptime!(layout.has_teacher) {
                let mine = partials.teacher_max[unit];
                let other = partials.teacher_max[unit + stride];
                let top = max(mine, other);
                let mine = (mine - top).exp();
                let other = (other - top).exp();
                let sum =
                    partials.teacher_sum[unit] * mine + partials.teacher_sum[unit + stride] * other;
                let weighted =
                    partials.weighted[unit] * mine + partials.weighted[unit + stride] * other;
                partials.teacher_max[unit] = top;
                partials.teacher_sum[unit] = sum;
                partials.weighted[unit] = weighted;
            }
        }
        sync_cube();
    }
}

/// Values and gradient of the row at `CUBE_POS`; `vectors` are those of a row.
#[cube(launch_unchecked)]
pub(super) fn cross_entropy_kl_rows<F: Float, T: Float, I: Int, N: Size>(
    student: &Tensor<Vector<F, N>>,
    teacher: &Tensor<Vector<T, N>>,
    labels: &Tensor<I>,
    ce_weights: &Tensor<f32>,
    kl_weights: &Tensor<f32>,
    values: &mut Tensor<f32>,
    gradient: &mut Tensor<Vector<F, N>>,
    rows: usize,
    vectors: usize,
    #[comptime] layout: Layout,
    #[define(F, T, I)] _dtypes: [StorageType; 3],
) {
    let units = comptime!(layout.units);
    let unit = UNIT_POS as usize;
    let live = CUBE_POS < rows;
    let row = select(live, CUBE_POS, 0);
    let first = row * vectors;
    let mine = select(live, (vectors + units - 1 - unit) / units, 0);

    let mut student_max = f32::new(LOWEST);
    let mut student_sum = f32::new(0.0);
    let mut teacher_max = f32::new(LOWEST);
    let mut teacher_sum = f32::new(0.0);
    let mut weighted = f32::new(0.0);
    for index in 0..mine {
        let at = first + unit + index * units;
        let s = Vector::<f32, N>::cast_from(student[at]);
        let top = max(largest_of::<N>(s), student_max);
        let shares = (s - Vector::new(top)).exp();
        student_sum = student_sum * (student_max - top).exp() + across::<N>(shares);
        student_max = top;
        if comptime!(layout.has_teacher) {
            let t = Vector::<f32, N>::cast_from(teacher[at]);
            let top = max(largest_of::<N>(t), teacher_max);
            let shares = (t - Vector::new(top)).exp();
            let scale = (teacher_max - top).exp();
            teacher_sum = teacher_sum * scale + across::<N>(shares);
            weighted = weighted * scale + across::<N>(shares * (t - s));
            teacher_max = top;
        }
    }
    let mut partials = Partials {
        student_max: SharedMemory::<f32>::new(units),
        student_sum: SharedMemory::<f32>::new(units),
        teacher_max: SharedMemory::<f32>::new(units),
        teacher_sum: SharedMemory::<f32>::new(units),
        weighted: SharedMemory::<f32>::new(units),
    };
    partials.student_max[unit] = student_max;
    partials.student_sum[unit] = student_sum;
    if comptime!(layout.has_teacher) {
        partials.teacher_max[unit] = teacher_max;
        partials.teacher_sum[unit] = teacher_sum;
        partials.weighted[unit] = weighted;
    }
    merge(&mut partials, layout);

    let student_top = partials.student_max[0];
    let student_total = partials.student_sum[0];
    // No label leads outside its row.
    let label = min(usize::cast_from(labels[row]), vectors * N::value() - 1);
    let label_vector = label / N::value();
    let label_lane = label % N::value();
    if live && unit == 0 {
        let holder = Vector::<f32, N>::cast_from(student[first + label_vector]);
        let logit = lane_of::<N>(holder, label_lane);
        values[row * 2] = student_top - logit + student_total.ln();
        let mut kl = f32::new(0.0);
        if comptime!(layout.has_teacher) {
            let total = partials.teacher_sum[0];
            kl = partials.weighted[0] / total
                - (partials.teacher_max[0] - student_top + (total.ln() - student_total.ln()));
        }
        values[row * 2 + 1] = kl;
    }
    if comptime!(layout.has_gradient) {
        let ce_weight = ce_weights[row];
        let mut kl_weight = f32::new(0.0);
        if comptime!(layout.has_teacher) {
            kl_weight = kl_weights[row];
        }
        let scale = (ce_weight + kl_weight) / student_total;
        for index in 0..mine {
            let vector = unit + index * units;
            let at = first + vector;
            let s = Vector::<f32, N>::cast_from(student[at]);
            let mut slope = (s - Vector::new(student_top)).exp() * Vector::new(scale);
            if comptime!(layout.has_teacher) {
                let t = Vector::<f32, N>::cast_from(teacher[at]);
                let share = kl_weight / partials.teacher_sum[0];
                let shares = (t - Vector::new(partials.teacher_max[0])).exp();
                slope -= shares * Vector::new(share);
            }
            #[unroll]
            for lane in 0..N::value() {
                let is_label = vector == label_vector && label_lane == lane;
                slope[lane] -= select(is_label, ce_weight, 0.0f32);
            }
            gradient[at] = Vector::cast_from(slope);
        }
    }
}
