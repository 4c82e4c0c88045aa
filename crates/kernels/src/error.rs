//! What can be wrong with the inputs of an operation.

/// A call that cannot run: every variant names the operation, the input, what was found and what
/// was expected.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// A tensor's shape disagrees with the sizes taken from the other inputs.
    #[error("{op}: `{input}` has shape {found:?}, expected {expected:?} = {layout}")]
    Shape {
        /// Operation that was called.
        op: &'static str,
        /// Input at fault.
        input: &'static str,
        /// Names of the expected axes, as in `[batch, seq, d_inner]`.
        layout: &'static str,
        /// Expected sizes.
        expected: Vec<usize>,
        /// Sizes that were found.
        found: Vec<usize>,
    },
    /// A size is zero where at least one element is needed.
    #[error("{op}: `{size}` is 0, must be at least 1")]
    Empty {
        /// Operation that was called.
        op: &'static str,
        /// Name of the size.
        size: &'static str,
    },
    /// One size must be a multiple of another.
    #[error("{op}: `{size}` is {found}, must be a multiple of `{divisor}` = {divisor_found}")]
    NotAMultiple {
        /// Operation that was called.
        op: &'static str,
        /// Name of the size at fault.
        size: &'static str,
        /// Its value.
        found: usize,
        /// Name of the size that has to divide it.
        divisor: &'static str,
        /// Its value.
        divisor_found: usize,
    },
    /// A sequence keeps more tokens of the last call than there were.
    #[error("{op}: sequence {row} keeps {found} tokens of the last call, which had {tokens}")]
    Kept {
        /// Operation that was called.
        op: &'static str,
        /// Sequence at fault.
        row: usize,
        /// Number of tokens that it keeps.
        found: usize,
        /// Tokens of the last call.
        tokens: usize,
    },
    /// A call has too few weights or too many.
    #[error("{op}: {found} weights, expected {least} to {most}")]
    Weights {
        /// Operation that was called.
        op: &'static str,
        /// Weights that were found.
        found: usize,
        /// Fewest that it takes.
        least: usize,
        /// Most that it takes.
        most: usize,
    },
    /// There are fewer keys than tokens.
    #[error("{op}: `keys` is {found}, must be at least `past` + `seq` = {past} + {seq}")]
    Keys {
        /// Operation that was called.
        op: &'static str,
        /// Keys that were found.
        found: usize,
        /// Tokens before the first query.
        past: usize,
        /// Queries.
        seq: usize,
    },
    /// The factor of the scores is infinite or not a number.
    #[error("{op}: `scale` is {found}, must be a finite number (try 1 / sqrt(head_dim))")]
    Scale {
        /// Operation that was called.
        op: &'static str,
        /// Value that was found.
        found: f64,
    },
    /// The normalisation constant is negative or not a number.
    #[error("{op}: `eps` is {found}, must be a finite number of at least 0 (try 1e-5)")]
    Epsilon {
        /// Operation that was called.
        op: &'static str,
        /// Value that was found.
        found: f64,
    },
}

/// Shape checks of one operation.
pub(crate) struct Check {
    op: &'static str,
}

impl Check {
    pub(crate) fn new(op: &'static str) -> Self {
        Self { op }
    }

    pub(crate) fn shape(
        &self,
        input: &'static str,
        layout: &'static str,
        found: &[usize],
        expected: &[usize],
    ) -> Result<(), KernelError> {
        if found == expected {
            return Ok(());
        }
        Err(KernelError::Shape {
            op: self.op,
            input,
            layout,
            expected: expected.to_vec(),
            found: found.to_vec(),
        })
    }

    pub(crate) fn not_empty(&self, sizes: &[(&'static str, usize)]) -> Result<(), KernelError> {
        match sizes.iter().find(|(_, value)| *value == 0) {
            Some((size, _)) => Err(KernelError::Empty { op: self.op, size }),
            None => Ok(()),
        }
    }

    pub(crate) fn multiple(
        &self,
        (size, found): (&'static str, usize),
        (divisor, divisor_found): (&'static str, usize),
    ) -> Result<(), KernelError> {
        if found.is_multiple_of(divisor_found) {
            return Ok(());
        }
        Err(KernelError::NotAMultiple {
            op: self.op,
            size,
            found,
            divisor,
            divisor_found,
        })
    }
}
