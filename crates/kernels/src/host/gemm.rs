//! Small dense products for the chunked loops.

#![expect(
    clippy::needless_range_loop,
    reason = "indexed loops over arrays vectorise reliably"
)]

use super::lanes::{LANES, Lanes};

/// A matrix by its first element and two strides, read only.
#[derive(Clone, Copy)]
pub(crate) struct Left<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) row_stride: usize,
    pub(crate) column_stride: usize,
}

/// Rows that share the loads of the right-hand side.
const ROWS: usize = 4;

/// `out[m, n] (+)= left[m, k] right[k, n]`; `right` and `out` are row-major with the given row
/// strides. `ACCUMULATE` adds to `out` instead of overwriting it.
#[inline(always)]
pub(crate) fn multiply<const FMA: bool, const ACCUMULATE: bool>(
    [m, n, k]: [usize; 3],
    left: Left<'_>,
    right: &[f32],
    right_stride: usize,
    out: &mut [f32],
    out_stride: usize,
) {
    if m == 0 || n == 0 {
        return;
    }
    // The unchecked reads below stay inside these bounds.
    if k > 0 {
        assert!((m - 1) * left.row_stride + (k - 1) * left.column_stride < left.values.len());
        assert!((k - 1) * right_stride + n <= right.len());
    }
    assert!((m - 1) * out_stride + n <= out.len());
    let mut row = 0;
    while row + ROWS <= m {
        rows::<FMA, ACCUMULATE, ROWS>(row, n, k, left, right, right_stride, out, out_stride);
        row += ROWS;
    }
    while row < m {
        rows::<FMA, ACCUMULATE, 1>(row, n, k, left, right, right_stride, out, out_stride);
        row += 1;
    }
}

/// `R` rows of the product from `row` on.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "inlined inner kernel")]
fn rows<const FMA: bool, const ACCUMULATE: bool, const R: usize>(
    row: usize,
    n: usize,
    k: usize,
    left: Left<'_>,
    right: &[f32],
    right_stride: usize,
    out: &mut [f32],
    out_stride: usize,
) {
    let mut column = 0;
    while column + LANES <= n {
        let mut sums = [Lanes::ZERO; R];
        for i in 0..k {
            let first = i * right_stride + column;
            // SAFETY: `i < k` and `column + LANES <= n`, in bounds by the caller's assertion.
            let line = Lanes::load(unsafe { right.get_unchecked(first..first + LANES) });
            step::<FMA, R>(row, i, left, line, &mut sums);
        }
        for r in 0..R {
            let first = (row + r) * out_stride + column;
            let line = &mut out[first..first + LANES];
            let sum = if ACCUMULATE {
                sums[r] + Lanes::load(line)
            } else {
                sums[r]
            };
            sum.store(line);
        }
        column += LANES;
    }
    if column < n {
        let width = n - column;
        let mut sums = [Lanes::ZERO; R];
        for i in 0..k {
            let first = i * right_stride + column;
            let line = Lanes::load(&right[first..first + width]);
            step::<FMA, R>(row, i, left, line, &mut sums);
        }
        for r in 0..R {
            let first = (row + r) * out_stride + column;
            let line = &mut out[first..first + width];
            let sum = if ACCUMULATE {
                sums[r] + Lanes::load(line)
            } else {
                sums[r]
            };
            sum.store(line);
        }
    }
}

/// Adds the products with one line of the right-hand side.
#[inline(always)]
fn step<const FMA: bool, const R: usize>(
    row: usize,
    i: usize,
    left: Left<'_>,
    line: Lanes,
    sums: &mut [Lanes; R],
) {
    for r in 0..R {
        let index = (row + r) * left.row_stride + i * left.column_stride;
        // SAFETY: callers pass rows and columns of `left` that `multiply` has asserted.
        let factor = Lanes::splat(unsafe { *left.values.get_unchecked(index) });
        sums[r] = factor.mul_add::<FMA>(line, sums[r]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Seeded;

    #[test]
    fn products_match_the_definition_for_any_size_and_stride() {
        let mut seeded = Seeded::new(1);
        for [m, n, k] in [[1, 1, 1], [4, 16, 8], [7, 35, 5], [9, 48, 0], [5, 3, 17]] {
            let (right_stride, out_stride) = (n + 3, n + 1);
            let left = seeded.uniforms(m * k + 1, -1.0, 1.0);
            let right = seeded.uniforms(k * right_stride + 1, -1.0, 1.0);
            let before = seeded.uniforms(m * out_stride, -1.0, 1.0);
            for transposed in [false, true] {
                let (row_stride, column_stride) = if transposed { (1, m) } else { (k, 1) };
                let view = Left {
                    values: &left,
                    row_stride,
                    column_stride,
                };
                let sizes = [m, n, k];
                let mut set = before.clone();
                multiply::<false, false>(sizes, view, &right, right_stride, &mut set, out_stride);
                let mut added = before.clone();
                multiply::<false, true>(sizes, view, &right, right_stride, &mut added, out_stride);
                for row in 0..m {
                    for column in 0..n {
                        let expected: f32 = (0..k)
                            .map(|i| {
                                left[row * row_stride + i * column_stride]
                                    * right[i * right_stride + column]
                            })
                            .sum();
                        let at = row * out_stride + column;
                        assert!((set[at] - expected).abs() < 1e-5);
                        assert!((added[at] - before[at] - expected).abs() < 1e-5);
                    }
                }
            }
        }
    }
}
