//! Sixteen channels side by side, in plain arrays that the compiler turns into vector registers.
//!
//! Everything here is inlined into bodies that `dispatch` compiles for the processor; `FMA` must be
//! true only where a fused multiply-add is an instruction.

#![expect(
    clippy::needless_range_loop,
    reason = "indexed loops over arrays vectorise reliably"
)]

use std::ops::{Add, Mul, Sub};

/// Channels that are worked on together.
pub(crate) const LANES: usize = 16;

/// One value for each of [`LANES`] channels.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(align(64))]
pub(crate) struct Lanes(pub(crate) [f32; LANES]);

impl Lanes {
    pub(crate) const ZERO: Self = Self([0.0; LANES]);

    #[inline(always)]
    pub(crate) fn splat(value: f32) -> Self {
        Self([value; LANES])
    }

    /// The first `values.len()` lanes, the others zero.
    #[inline(always)]
    pub(crate) fn load(values: &[f32]) -> Self {
        if values.len() >= LANES {
            // SAFETY: there are at least `LANES` elements, and an array needs no more alignment.
            return Self(unsafe { values.as_ptr().cast::<[f32; LANES]>().read() });
        }
        let mut lanes = [0.0; LANES];
        lanes[..values.len()].copy_from_slice(values);
        Self(lanes)
    }

    /// Stores the first `values.len()` lanes.
    #[inline(always)]
    pub(crate) fn store(self, values: &mut [f32]) {
        if values.len() >= LANES {
            // SAFETY: there are at least `LANES` elements, and an array needs no more alignment.
            unsafe { values.as_mut_ptr().cast::<[f32; LANES]>().write(self.0) };
            return;
        }
        values.copy_from_slice(&self.0[..values.len()]);
    }

    /// `self * factor + addend`.
    #[inline(always)]
    pub(crate) fn mul_add<const FMA: bool>(self, factor: Self, addend: Self) -> Self {
        let mut lanes = [0.0; LANES];
        for i in 0..LANES {
            lanes[i] = mul_add::<FMA>(self.0[i], factor.0[i], addend.0[i]);
        }
        Self(lanes)
    }

    /// Sum over the lanes, always in the same order.
    #[inline(always)]
    pub(crate) fn sum(self) -> f32 {
        let mut eight = [0.0; 8];
        for i in 0..8 {
            eight[i] = self.0[i] + self.0[i + 8];
        }
        let mut four = [0.0; 4];
        for i in 0..4 {
            four[i] = eight[i] + eight[i + 4];
        }
        (four[0] + four[2]) + (four[1] + four[3])
    }

    /// The larger one of each pair, for the first `count` lanes; the others stay.
    #[inline(always)]
    pub(crate) fn max_first(self, other: Self, count: usize) -> Self {
        let mut lanes = self.0;
        for i in 0..LANES {
            let larger = if other.0[i] > lanes[i] {
                other.0[i]
            } else {
                lanes[i]
            };
            lanes[i] = if i < count { larger } else { lanes[i] };
        }
        Self(lanes)
    }

    /// The largest lane.
    #[inline(always)]
    pub(crate) fn largest(self) -> f32 {
        self.0.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }

    #[inline(always)]
    pub(crate) fn exp<const FMA: bool>(self) -> Self {
        let mut lanes = [0.0; LANES];
        for i in 0..LANES {
            lanes[i] = exp::<FMA>(self.0[i]);
        }
        Self(lanes)
    }

    #[inline(always)]
    pub(crate) fn sigmoid<const FMA: bool>(self) -> Self {
        let mut lanes = [0.0; LANES];
        for i in 0..LANES {
            lanes[i] = 1.0 / (1.0 + exp::<FMA>(-self.0[i]));
        }
        Self(lanes)
    }

    #[inline(always)]
    pub(crate) fn softplus<const FMA: bool>(self) -> Self {
        let mut lanes = [0.0; LANES];
        for i in 0..LANES {
            lanes[i] = softplus::<FMA>(self.0[i]);
        }
        Self(lanes)
    }
}

impl Add for Lanes {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        let mut lanes = [0.0; LANES];
        for i in 0..LANES {
            lanes[i] = self.0[i] + other.0[i];
        }
        Self(lanes)
    }
}

impl Sub for Lanes {
    type Output = Self;

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        let mut lanes = [0.0; LANES];
        for i in 0..LANES {
            lanes[i] = self.0[i] - other.0[i];
        }
        Self(lanes)
    }
}

impl Mul for Lanes {
    type Output = Self;

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        let mut lanes = [0.0; LANES];
        for i in 0..LANES {
            lanes[i] = self.0[i] * other.0[i];
        }
        Self(lanes)
    }
}

/// `a * b + c`.
#[inline(always)]
pub(crate) fn mul_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// `e^x` within two units in the last place; flattens to 1.2e-38 below -87.3 and to 2.4e38 above
/// 88.3.
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    // Adding and subtracting this rounds to an integer, which is left in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.3, 88.3);
    let shifted = mul_add::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = mul_add::<FMA>(n, -LN2_LOW, mul_add::<FMA>(n, -LN2_HIGH, x));
    // e^r on |r| <= ln(2) / 2: minimax after 1 + r.
    let mut p = 1.987_569_1e-4;
    p = mul_add::<FMA>(p, r, 1.398_199_9e-3);
    p = mul_add::<FMA>(p, r, 8.333_452e-3);
    p = mul_add::<FMA>(p, r, 4.166_579_6e-2);
    p = mul_add::<FMA>(p, r, 1.666_666_5e-1);
    p = mul_add::<FMA>(p, r, 5e-1);
    let e_r = mul_add::<FMA>(p, r * r, r) + 1.0;
    let two_n = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    e_r * two_n
}

/// `ln(1 + e^x)`: the larger of `x` and 0, plus `ln(1 + t)` with `t = e^-|x|` through
/// `2 artanh(t / (2 + t))`, whose argument is at most 1/3.
#[inline(always)]
pub(crate) fn softplus<const FMA: bool>(x: f32) -> f32 {
    let t = exp::<FMA>(-x.abs());
    let s = t / (2.0 + t);
    let s2 = s * s;
    let mut p = 2.0 / 15.0;
    p = mul_add::<FMA>(p, s2, 2.0 / 13.0);
    p = mul_add::<FMA>(p, s2, 2.0 / 11.0);
    p = mul_add::<FMA>(p, s2, 2.0 / 9.0);
    p = mul_add::<FMA>(p, s2, 2.0 / 7.0);
    p = mul_add::<FMA>(p, s2, 2.0 / 5.0);
    p = mul_add::<FMA>(p, s2, 2.0 / 3.0);
    p = mul_add::<FMA>(p, s2, 2.0);
    mul_add::<FMA>(p, s, x.max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relative_error(got: f32, expected: f64) -> f64 {
        ((f64::from(got) - expected) / expected).abs()
    }

    #[test]
    fn exp_is_within_two_ulps() {
        let mut worst = 0.0f64;
        for i in -870_000..=880_000 {
            let x = i as f32 * 1e-4;
            let expected = f64::from(x).exp();
            worst = worst.max(relative_error(exp::<true>(x), expected));
            worst = worst.max(relative_error(exp::<false>(x), expected));
        }
        assert!(worst < 2.0 * f64::from(f32::EPSILON), "{worst:e}");
        assert_eq!(exp::<false>(0.0), 1.0);
        assert!(exp::<false>(-1e30) < 1.3e-38);
        assert!(exp::<false>(1e30).is_finite());
        assert!(exp::<false>(f32::NAN).is_nan());
    }

    #[test]
    fn softplus_keeps_small_values_and_is_the_identity_for_large_ones() {
        for i in -80_000..=80_000 {
            let x = i as f32 * 1e-3;
            let error = relative_error(softplus::<false>(x), f64::from(x).exp().ln_1p());
            assert!(
                error < 3.0 * f64::from(f32::EPSILON),
                "softplus({x}): {error:e}"
            );
        }
        assert_eq!(softplus::<false>(200.0), 200.0);
        assert!(softplus::<false>(f32::NAN).is_nan());
    }

    #[test]
    fn partial_loads_and_stores_touch_only_their_lanes() {
        let lanes = Lanes::load(&[1.0, 2.0, 3.0]);
        assert_eq!(lanes.sum(), 6.0);
        let mut out = [f32::NAN; 3];
        lanes.store(&mut out[..2]);
        assert_eq!(out[..2], [1.0, 2.0]);
        assert!(out[2].is_nan());
        let least = Lanes::splat(-5.0);
        assert_eq!(
            least.max_first(Lanes::load(&[-2.0, -9.0]), 2).largest(),
            -2.0
        );
    }
}
