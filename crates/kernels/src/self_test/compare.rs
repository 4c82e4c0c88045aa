//! Results against what they should be.

/// Largest error allowed in f32 outputs, relative to the RMS of the expected tensor.
pub const F32_TOLERANCE: f64 = 2e-5;

/// Largest error allowed in f32 gradients, relative to the RMS of the expected tensor.
pub const F32_GRADIENT_TOLERANCE: f64 = 1e-4;

/// Largest error allowed in bf16 outputs that are computed in f32: half a unit in the last place, and what f32 adds.
pub(crate) const BF16_TOLERANCE: f64 = 1.0 / 256.0 + F32_TOLERANCE;

/// One tensor that an operation returned, compared.
#[derive(Clone, Debug)]
pub struct TensorCheck {
    /// Its name: `y`, `last_state`, `window`, or `grad.` and an operand.
    pub tensor: String,
    /// Largest error, relative to the expected value or to the RMS of its tensor, whichever is
    /// larger; infinite if a value is not finite or the number of elements differs.
    pub error: f64,
    /// Largest error allowed.
    pub tolerance: f64,
}

impl TensorCheck {
    pub(crate) fn new(tensor: &str, got: &[f32], expected: &[f64]) -> Self {
        let tolerance = match tensor.starts_with("grad.") {
            true => F32_GRADIENT_TOLERANCE,
            false => F32_TOLERANCE,
        };
        Self {
            tensor: tensor.to_owned(),
            error: relative_error(got, expected),
            tolerance,
        }
    }

    /// Whether the tensor is as expected.
    pub fn has_passed(&self) -> bool {
        self.error <= self.tolerance
    }
}

/// One case of an operation, compared.
#[derive(Clone, Debug)]
pub struct CaseCheck {
    /// The operation.
    pub op: &'static str,
    /// Sizes and operands, or the case of a file.
    pub case: String,
    /// Every output and gradient, at least one.
    pub tensors: Vec<TensorCheck>,
}

impl CaseCheck {
    /// Whether every tensor is as expected.
    pub fn has_passed(&self) -> bool {
        self.tensors.iter().all(TensorCheck::has_passed)
    }

    /// The tensor whose error is largest by its tolerance.
    pub fn worst(&self) -> &TensorCheck {
        // A tolerance may be zero.
        let size = |check: &TensorCheck| match check.has_passed() {
            true => check.error / check.tolerance.max(f64::MIN_POSITIVE),
            false => f64::INFINITY,
        };
        (self.tensors.iter())
            .max_by(|a, b| size(a).total_cmp(&size(b)))
            .expect("a case compares a tensor")
    }

    /// # Panics
    /// At failures, with their names.
    #[cfg(test)]
    #[track_caller]
    pub(crate) fn assert_passed(&self, path: &str) {
        let failed: Vec<_> = (self.tensors.iter())
            .filter(|check| !check.has_passed())
            .map(|check| {
                let TensorCheck {
                    tensor,
                    error,
                    tolerance,
                } = check;
                format!("{tensor}: error {error:e} above {tolerance:e}")
            })
            .collect();
        assert!(
            failed.is_empty(),
            "{path} {} {}: {}",
            self.op,
            self.case,
            failed.join(", ")
        );
    }
}

/// Largest error, relative to the expected value or to the RMS of `expected`, whichever is larger;
/// infinite where it cannot be told.
pub(super) fn relative_error(got: &[f32], expected: &[f64]) -> f64 {
    if got.len() != expected.len() || got.iter().any(|value| !value.is_finite()) {
        return f64::INFINITY;
    }
    let squares: f64 = expected.iter().map(|value| value * value).sum();
    let rms = (squares / expected.len().max(1) as f64).sqrt().max(1e-30);
    let error =
        |(&got, &value): (&f32, &f64)| (f64::from(got) - value).abs() / rms.max(value.abs());
    got.iter().zip(expected).map(error).fold(0.0, f64::max)
}

/// Pairs results with expectations by name; a missing result is infinitely wrong.
pub(crate) fn compare(
    got: &[(String, Vec<f32>)],
    expected: &[(String, Vec<f64>)],
) -> Vec<TensorCheck> {
    let find = |name: &str| got.iter().find(|(tensor, _)| tensor == name);
    (expected.iter())
        .map(|(name, values)| {
            let found = find(name).map_or(&[][..], |(_, found)| found);
            TensorCheck::new(name, found, values)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_nan_and_missing_values_fail() {
        let expected = [1.0, -2.0, 3.0];
        let passes = |got: &[f32]| TensorCheck::new("y", got, &expected).has_passed();
        assert!(passes(&[1.0, -2.0, 3.0]));
        assert!(!passes(&[0.0, 0.0, 0.0]));
        assert!(!passes(&[1.0, f32::NAN, 3.0]));
        assert!(!passes(&[1.0, -2.0]));
        assert!(!passes(&[1.0, -2.0, 3.001]));
    }
}
