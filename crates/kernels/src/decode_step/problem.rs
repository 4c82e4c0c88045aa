use super::{DecodeState, DecodeStepWeights};
use crate::error::{Check, KernelError};
use burn::tensor::{Tensor, backend::Backend};

const OP: &str = "decode_step";

/// What the weights of a mixer do not tell about its step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DecodeStepShape {
    /// Channels of one head: those that share a step size and, in the norm, a scale; 1 in Mamba1.
    pub headdim: usize,
    /// States in each channel.
    pub d_state: usize,
    /// Channels of x in a row; repeated to `d_inner`.
    pub x_width: usize,
    /// Channels of b in a row; repeated to `c_width`.
    pub b_width: usize,
    /// Channels of c in a row, `d_state` for each group of heads.
    pub c_width: usize,
    /// Width of the pieces of x and b that are repeated.
    pub repeat_width: usize,
    /// Whether pieces are repeated before the convolution, so that each copy has its own filter.
    pub repeat_before_conv: bool,
    /// Whether b and c pass the convolution as x does.
    pub conv_covers_bc: bool,
    /// Whether a row starts with a gate z of `d_inner` channels.
    pub has_z: bool,
    /// Added to the mean square of a head, if there is a norm.
    pub eps: f64,
}

/// Sizes and flags of one decode step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DecodeStepProblem {
    /// Sequences.
    pub batch: usize,
    /// Heads.
    pub nheads: usize,
    /// Taps of the convolution, at least 2.
    pub d_conv: usize,
    /// Channels of dt in a row: `nheads`, or the rank of `dt_weight`.
    pub dt_width: usize,
    /// Whether dt is projected to the heads.
    pub has_dt_weight: bool,
    /// Whether every state of a head has its own `a`.
    pub a_is_per_state: bool,
    /// Whether a norm follows the gate.
    pub has_norm: bool,
    /// The rest.
    pub shape: DecodeStepShape,
}

impl DecodeStepProblem {
    /// Reads the sizes off the weights and checks every shape; the batch stays 1.
    pub(super) fn validate_weights<B: Backend>(
        shape: DecodeStepShape,
        weights: &DecodeStepWeights<B>,
    ) -> Result<Self, KernelError> {
        let check = Check::new(OP);
        let s = shape;
        let [nheads, a_width] = weights.a.dims();
        let [conv_channels, d_conv] = weights.conv_weight.dims();
        check.not_empty(&[
            ("nheads", nheads),
            ("headdim", s.headdim),
            ("d_state", s.d_state),
            ("d_conv - 1", d_conv.saturating_sub(1)),
            ("x_width", s.x_width),
            ("b_width", s.b_width),
            ("c_width", s.c_width),
            ("repeat_width", s.repeat_width),
        ])?;
        let p = Self {
            batch: 1,
            nheads,
            d_conv,
            dt_width: match &weights.dt_weight {
                Some(dt_weight) => dt_weight.dims()[0],
                None => nheads,
            },
            has_dt_weight: weights.dt_weight.is_some(),
            a_is_per_state: a_width != 1 || s.d_state == 1,
            has_norm: weights.norm_weight.is_some(),
            shape,
        };
        check.not_empty(&[("dt_rank", p.dt_width)])?;
        if p.a_is_per_state {
            let expected = [nheads, s.d_state];
            check.shape("a", "[nheads, d_state]", &weights.a.dims(), &expected)?;
        }
        let d_inner = p.d_inner();
        check.multiple(("d_inner", d_inner), ("x_width", s.x_width))?;
        check.multiple(("c_width", s.c_width), ("b_width", s.b_width))?;
        check.multiple(("c_width", s.c_width), ("d_state", s.d_state))?;
        check.multiple(("nheads", nheads), ("ngroups", p.ngroups()))?;
        if p.x_repeats() > 1 {
            let width = ("repeat_width", s.repeat_width);
            check.multiple(("x_width", s.x_width), width)?;
        }
        if p.b_repeats() > 1 {
            let width = ("repeat_width", s.repeat_width);
            check.multiple(("b_width", s.b_width), width)?;
        }
        check.shape(
            "conv_weight",
            "[conv_channels, d_conv]",
            &[conv_channels, d_conv],
            &[p.conv_channels(), d_conv],
        )?;
        if let Some(bias) = &weights.conv_bias {
            let expected = [p.conv_channels()];
            check.shape("conv_bias", "[conv_channels]", &bias.dims(), &expected)?;
        }
        if let Some(dt_weight) = &weights.dt_weight {
            let expected = [p.dt_width, nheads];
            let layout = "[dt_rank, nheads]";
            check.shape("dt_weight", layout, &dt_weight.dims(), &expected)?;
        }
        if let Some(dt_bias) = &weights.dt_bias {
            check.shape("dt_bias", "[nheads]", &dt_bias.dims(), &[nheads])?;
        }
        if let Some(d) = &weights.d {
            check.shape("d", "[nheads]", &d.dims(), &[nheads])?;
        }
        if let Some(norm_weight) = &weights.norm_weight {
            let found = norm_weight.dims();
            check.shape("norm_weight", "[d_inner]", &found, &[d_inner])?;
        }
        if !s.eps.is_finite() || s.eps < 0.0 {
            let found = s.eps;
            return Err(KernelError::Epsilon { op: OP, found });
        }
        Ok(p)
    }

    /// This step for a batch.
    pub(super) fn validate<B: Backend>(
        self,
        rows: &Tensor<B, 2>,
        state: &DecodeState<B>,
    ) -> Result<Self, KernelError> {
        let check = Check::new(OP);
        let [batch, _] = rows.dims();
        check.not_empty(&[("batch", batch)])?;
        let expected = [batch, self.row_width()];
        check.shape("rows", "[batch, row_width]", &rows.dims(), &expected)?;
        let expected = [batch, self.d_conv - 1, self.conv_channels()];
        let layout = "[batch, d_conv - 1, conv_channels]";
        check.shape("conv_window", layout, &state.conv_window.dims(), &expected)?;
        let expected = [batch, self.d_inner(), self.shape.d_state];
        let layout = "[batch, d_inner, d_state]";
        check.shape("ssm_state", layout, &state.ssm_state.dims(), &expected)?;
        Ok(Self { batch, ..self })
    }

    /// Channels of all heads.
    pub fn d_inner(&self) -> usize {
        self.nheads * self.shape.headdim
    }

    /// Groups of heads that share b and c.
    pub fn ngroups(&self) -> usize {
        self.shape.c_width / self.shape.d_state
    }

    /// Copies of each piece of x.
    pub fn x_repeats(&self) -> usize {
        self.d_inner() / self.shape.x_width
    }

    /// Copies of each piece of b.
    pub fn b_repeats(&self) -> usize {
        self.shape.c_width / self.shape.b_width
    }

    /// Channels of x and of b in the convolution; b is 0 if it does not pass it.
    pub(crate) fn conv_widths(&self) -> [usize; 2] {
        let s = &self.shape;
        let (x, b) = match s.repeat_before_conv {
            true => (self.d_inner(), s.c_width),
            false => (s.x_width, s.b_width),
        };
        [x, if s.conv_covers_bc { b } else { 0 }]
    }

    /// Channels of the convolution.
    pub fn conv_channels(&self) -> usize {
        let c = match self.shape.conv_covers_bc {
            true => self.shape.c_width,
            false => 0,
        };
        self.conv_widths().iter().sum::<usize>() + c
    }

    /// First column of x, b, c and dt in a row.
    pub(crate) fn columns(&self) -> [usize; 4] {
        let s = &self.shape;
        let x = if s.has_z { self.d_inner() } else { 0 };
        let b = x + s.x_width;
        [x, b, b + s.b_width, b + s.b_width + s.c_width]
    }

    /// Columns of a row.
    pub fn row_width(&self) -> usize {
        self.columns()[3] + self.dt_width
    }

    /// Lengths of the parts of the packed weights, in order: conv_weight (tap by tap, oldest
    /// first), conv_bias, dt_weight, dt_bias, a, d, norm_weight.
    pub(crate) fn packed_lengths(&self) -> [usize; 7] {
        let channels = self.conv_channels();
        let dt_weight = match self.has_dt_weight {
            true => self.dt_width * self.nheads,
            false => 0,
        };
        let a_width = match self.a_is_per_state {
            true => self.shape.d_state,
            false => 1,
        };
        [
            self.d_conv * channels,
            channels,
            dt_weight,
            self.nheads,
            self.nheads * a_width,
            self.nheads,
            if self.has_norm { self.d_inner() } else { 0 },
        ]
    }
}
