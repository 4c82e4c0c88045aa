use super::{SsdInputs, SsdOptions};
use crate::error::{Check, KernelError};
use burn::tensor::backend::Backend;

/// Sizes and flags of one state-space duality call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SsdProblem {
    /// Sequences.
    pub batch: usize,
    /// Steps in each sequence.
    pub seq: usize,
    /// SSM heads.
    pub nheads: usize,
    /// Channels in each head.
    pub headdim: usize,
    /// Groups of heads that share `b` and `c`.
    pub ngroups: usize,
    /// States in each channel.
    pub d_state: usize,
    /// Steps in each chunk of the matrix form.
    pub chunk_size: usize,
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

impl SsdProblem {
    /// Reads the sizes off the inputs and checks every shape.
    pub(super) fn validate<B: Backend>(
        inputs: &SsdInputs<B>,
        options: SsdOptions,
    ) -> Result<Self, KernelError> {
        let check = Check::new("ssd");
        let [batch, seq, nheads, headdim] = inputs.x.dims();
        let [_, _, ngroups, d_state] = inputs.b.dims();
        check.not_empty(&[
            ("batch", batch),
            ("seq", seq),
            ("nheads", nheads),
            ("headdim", headdim),
            ("ngroups", ngroups),
            ("d_state", d_state),
            ("chunk_size", options.chunk_size),
        ])?;
        check.multiple(("nheads", nheads), ("ngroups", ngroups))?;
        let like_x = [batch, seq, nheads, headdim];
        let grouped = [batch, seq, ngroups, d_state];
        check.shape(
            "dt",
            "[batch, seq, nheads]",
            &inputs.dt.dims(),
            &[batch, seq, nheads],
        )?;
        check.shape("a", "[nheads]", &inputs.a.dims(), &[nheads])?;
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
            check.shape("d", "[nheads]", &d.dims(), &[nheads])?;
        }
        if let Some(z) = &inputs.z {
            check.shape("z", "[batch, seq, nheads, headdim]", &z.dims(), &like_x)?;
        }
        if let Some(dt_bias) = &inputs.dt_bias {
            check.shape("dt_bias", "[nheads]", &dt_bias.dims(), &[nheads])?;
        }
        if let Some(state) = &inputs.initial_state {
            check.shape(
                "initial_state",
                "[batch, nheads, headdim, d_state]",
                &state.dims(),
                &[batch, nheads, headdim, d_state],
            )?;
        }
        if let Some(reset) = &inputs.reset {
            check.shape("reset", "[batch, seq]", &reset.dims(), &[batch, seq])?;
        }
        Ok(Self {
            batch,
            seq,
            nheads,
            headdim,
            ngroups,
            d_state,
            chunk_size: options.chunk_size,
            has_d: inputs.d.is_some(),
            has_z: inputs.z.is_some(),
            has_dt_bias: inputs.dt_bias.is_some(),
            has_initial_state: inputs.initial_state.is_some(),
            dt_softplus: options.dt_softplus,
        })
    }
}
