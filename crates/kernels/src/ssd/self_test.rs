//! State-space duality in f64, and its cases.

use super::SsdProblem;
use crate::backend::{SsmBackend, StateSpaceOutput};
use crate::self_test::golden::{GoldenCase, GoldenError, Tensors};
use crate::self_test::state_space::{Case, Operation};
use crate::self_test::tape::Var;
use burn::tensor::ops::FloatTensor;

impl Operation for SsdProblem {
    fn shapes(&self) -> [Option<Vec<usize>>; 9] {
        let like_x = vec![self.batch, self.seq, self.nheads, self.headdim];
        let grouped = vec![self.batch, self.seq, self.ngroups, self.d_state];
        let per_head = vec![self.nheads];
        [
            Some(like_x.clone()),
            Some(vec![self.batch, self.seq, self.nheads]),
            Some(per_head.clone()),
            Some(grouped.clone()),
            Some(grouped),
            self.has_d.then(|| per_head.clone()),
            self.has_z.then_some(like_x),
            self.has_dt_bias.then_some(per_head),
            self.has_initial_state
                .then(|| vec![self.batch, self.nheads, self.headdim, self.d_state]),
        ]
    }

    fn label(&self) -> String {
        let Self {
            batch,
            seq,
            nheads,
            headdim,
            ngroups,
            d_state,
            chunk_size,
            ..
        } = self;
        let flags = [
            (self.has_d, "d"),
            (self.has_z, "z"),
            (self.has_dt_bias, "bias"),
            (self.has_initial_state, "state"),
            (self.dt_softplus, "softplus"),
        ];
        let on = flags
            .iter()
            .filter(|(on, _)| *on)
            .map(|(_, flag)| format!(" {flag}"));
        let on: String = on.collect();
        format!("b{batch} l{seq} h{nheads} p{headdim} g{ngroups} n{d_state} chunk {chunk_size}{on}")
    }

    fn seq(&self) -> usize {
        self.seq
    }

    fn batch(&self) -> usize {
        self.batch
    }

    fn dt_softplus(&self) -> bool {
        self.dt_softplus
    }

    fn public_forward<B: SsmBackend>(
        &self,
        operands: [FloatTensor<B>; 9],
        reset: Option<FloatTensor<B>>,
    ) -> StateSpaceOutput<B> {
        B::ssd_forward(operands, reset, self, false)
    }

    fn naive(&self, operands: &[Vec<Var>; 9], reset: Option<&[f32]>) -> (Vec<Var>, Vec<Var>) {
        let [x, dt, a, b, c, d, z, dt_bias, initial_state] = operands;
        let (width, states) = (self.headdim, self.d_state);
        let mut state = match self.has_initial_state {
            true => initial_state.clone(),
            false => vec![Var::ZERO; self.batch * self.nheads * width * states],
        };
        let mut y = vec![Var::ZERO; x.len()];
        for row in 0..self.batch {
            for t in 0..self.seq {
                let step = row * self.seq + t;
                for head in 0..self.nheads {
                    let raw = dt[step * self.nheads + head]
                        + if self.has_dt_bias {
                            dt_bias[head]
                        } else {
                            Var::ZERO
                        };
                    let dt = match self.dt_softplus {
                        true => raw.softplus(),
                        false => raw,
                    };
                    let decay = match reset.is_some_and(|reset| reset[step] != 0.0) {
                        true => Var::ZERO,
                        false => (dt * a[head]).exp(),
                    };
                    let group = head / (self.nheads / self.ngroups);
                    let grouped = (step * self.ngroups + group) * states;
                    for p in 0..width {
                        let at = (step * self.nheads + head) * width + p;
                        let first = ((row * self.nheads + head) * width + p) * states;
                        let mut sum = if self.has_d {
                            d[head] * x[at]
                        } else {
                            Var::ZERO
                        };
                        for n in 0..states {
                            let s = &mut state[first + n];
                            *s = decay * *s + dt * x[at] * b[grouped + n];
                            sum += *s * c[grouped + n];
                        }
                        y[at] = match self.has_z {
                            true => sum * z[at].silu(),
                            false => sum,
                        };
                    }
                }
            }
        }
        (y, state)
    }
}

/// Everything on: batch, seq, nheads, headdim, ngroups, d_state, chunk_size.
pub(super) fn problem(sizes: [usize; 7]) -> SsdProblem {
    let [batch, seq, nheads, headdim, ngroups, d_state, chunk_size] = sizes;
    SsdProblem {
        batch,
        seq,
        nheads,
        headdim,
        ngroups,
        d_state,
        chunk_size,
        has_d: true,
        has_z: true,
        has_dt_bias: true,
        has_initial_state: true,
        dt_softplus: true,
    }
}

/// Everything off.
pub(super) fn plain(problem: SsdProblem) -> SsdProblem {
    SsdProblem {
        has_d: false,
        has_z: false,
        has_dt_bias: false,
        has_initial_state: false,
        dt_softplus: false,
        ..problem
    }
}

/// Lengths off every grid, groups 1, 2 and as many as heads, operands there and not, documents.
pub(crate) fn cases() -> Vec<Case<SsdProblem>> {
    let mut cases = Vec::new();
    let mut add = |sizes| {
        cases.push(Case::seeded(problem(sizes), 1));
        cases.push(Case::seeded(plain(problem(sizes)), 2));
    };
    for seq in [1, 3, 63, 65, 130, 333] {
        for ngroups in [1, 2, 4] {
            add([1, seq, 4, 5, ngroups, 7, 64]);
        }
    }
    add([2, 65, 9, 16, 9, 16, 64]);
    add([1, 130, 2, 64, 2, 64, 64]);
    // Wider than a tile.
    add([1, 65, 3, 65, 1, 130, 32]);
    let documents =
        |sizes, starts: &[usize]| Case::seeded(problem(sizes), 3).with_documents(starts);
    cases.push(documents([2, 65, 4, 16, 2, 8, 32], &[0, 5, 6, 32, 64]));
    cases.push(documents([1, 333, 3, 16, 3, 16, 64], &[70, 128, 129]));
    cases
}

/// The cases of `kernel_ssd`.
pub(crate) fn golden(file: &Tensors) -> Result<Vec<GoldenCase<Case<SsdProblem>>>, GoldenError> {
    let [batch, seq, nheads, headdim] = file.dims("in.x")?;
    let [_, _, ngroups, d_state] = file.dims("in.B")?;
    let mut cases = Vec::new();
    for (name, chunk_size) in ["init", "init_z", "zero"]
        .into_iter()
        .flat_map(|name| [16, 32, 64, 256].map(|chunk_size| (name, chunk_size)))
    {
        let problem = SsdProblem {
            has_z: name == "init_z",
            has_initial_state: name != "zero",
            ..problem([batch, seq, nheads, headdim, ngroups, d_state, chunk_size])
        };
        let input = |has: bool, key: &str| match has {
            true => Ok(file.get(&format!("in.{key}"))?.floats()),
            false => Ok(Vec::new()),
        };
        let case = Case {
            problem,
            operands: [
                input(true, "x")?,
                input(true, "dt")?,
                input(true, "A")?,
                input(true, "B")?,
                input(true, "C")?,
                input(true, "D")?,
                input(problem.has_z, "z")?,
                input(true, "dt_bias")?,
                input(problem.has_initial_state, "initial_states")?,
            ],
            reset: None,
            dy: input(true, "dy")?,
            dlast: input(true, "dfinal_state")?,
        };
        let mut golden = GoldenCase::new(&format!("{name} in chunks of {chunk_size}"), case);
        golden.expect("y", file.get(&format!("{name}.y"))?.clone());
        let last_state = file.get(&format!("{name}.final_state"))?;
        golden.expect("last_state", last_state.clone());
        let keys = [
            "x",
            "dt",
            "A",
            "B",
            "C",
            "D",
            "z",
            "dt_bias",
            "initial_states",
        ];
        for (index, key) in keys.into_iter().enumerate() {
            // Not every case has all of them.
            if let Ok(gradient) = file.get(&format!("{name}.grad.{key}")) {
                golden.expect_gradient(index, gradient.clone());
            }
        }
        cases.push(golden);
    }
    Ok(cases)
}
