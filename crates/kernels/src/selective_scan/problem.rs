use super::SelectiveScanInputs;
use crate::error::{Check, KernelError};
use burn::tensor::backend::Backend;

/// Sizes and flags of one selective scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SelectiveScanProblem {
    /// Sequences.
    pub batch: usize,
    /// Steps in each sequence.
    pub seq: usize,
    /// Channels.
    pub d_inner: usize,
    /// States in each channel.
    pub d_state: usize,
    /// Groups of channels that share `b` and `c`.
    pub ngroups: usize,
    /// Whether there is a skip weight `d`.
    pub has_d: bool,
    /// Whether there is a gate `z`.
    pub has_z: bool,
    /// Whether there is a `dt_bias`.
    pub has_dt_bias: bool,
    /// Whether the state starts from a given one instead of zero.
    pub has_initial_state: bool,
    /// Whether softplus is applied to `dt + dt_bias`.
    pub dt_softplus: bool,
}

impl SelectiveScanProblem {
    /// Reads the sizes off the inputs and checks every shape.
    pub(super) fn validate<B: Backend>(
        inputs: &SelectiveScanInputs<B>,
        dt_softplus: bool,
    ) -> Result<Self, KernelError> {
        let check = Check::new("selective_scan");
        let [batch, seq, d_inner] = inputs.u.dims();
        let [_, d_state] = inputs.a.dims();
        let [_, _, ngroups, _] = inputs.b.dims();
        check.not_empty(&[
            ("batch", batch),
            ("seq", seq),
            ("d_inner", d_inner),
            ("d_state", d_state),
            ("ngroups", ngroups),
        ])?;
        check.multiple(("d_inner", d_inner), ("ngroups", ngroups))?;
        let inner = [batch, seq, d_inner];
        let grouped = [batch, seq, ngroups, d_state];
        check.shape("dt", "[batch, seq, d_inner]", &inputs.dt.dims(), &inner)?;
        check.shape(
            "a",
            "[d_inner, d_state]",
            &inputs.a.dims(),
            &[d_inner, d_state],
        )?;
        check.shape(
            "b",
            "[batch, seq, ngroups, d_state]",
            &inputs.b.dims(),
            &grouped,
        )?;
        check.shape(
            "c",
            "[batch, seq, ngroups, d_state]",
            &inputs.c.dims(),
            &grouped,
        )?;
        if let Some(d) = &inputs.d {
            check.shape("d", "[d_inner]", &d.dims(), &[d_inner])?;
        }
        if let Some(z) = &inputs.z {
            check.shape("z", "[batch, seq, d_inner]", &z.dims(), &inner)?;
        }
        if let Some(dt_bias) = &inputs.dt_bias {
            check.shape("dt_bias", "[d_inner]", &dt_bias.dims(), &[d_inner])?;
        }
        if let Some(state) = &inputs.initial_state {
            let expected = [batch, d_inner, d_state];
            check.shape(
                "initial_state",
                "[batch, d_inner, d_state]",
                &state.dims(),
                &expected,
            )?;
        }
        if let Some(reset) = &inputs.reset {
            check.shape("reset", "[batch, seq]", &reset.dims(), &[batch, seq])?;
        }
        Ok(Self {
            batch,
            seq,
            d_inner,
            d_state,
            ngroups,
            has_d: inputs.d.is_some(),
            has_z: inputs.z.is_some(),
            has_dt_bias: inputs.dt_bias.is_some(),
            has_initial_state: inputs.initial_state.is_some(),
            dt_softplus,
        })
    }
}
