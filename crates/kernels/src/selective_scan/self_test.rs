//! The selective scan in f64, and its cases.

use super::SelectiveScanProblem;
use crate::backend::{SsmBackend, StateSpaceOutput};
use crate::self_test::golden::{GoldenCase, GoldenError, Tensors};
use crate::self_test::state_space::{Case, Operation, extreme};
use crate::self_test::tape::Var;
use burn::tensor::ops::FloatTensor;

impl Operation for SelectiveScanProblem {
    fn shapes(&self) -> [Option<Vec<usize>>; 9] {
        let inner = vec![self.batch, self.seq, self.d_inner];
        let grouped = vec![self.batch, self.seq, self.ngroups, self.d_state];
        [
            Some(inner.clone()),
            Some(inner.clone()),
            Some(vec![self.d_inner, self.d_state]),
            Some(grouped.clone()),
            Some(grouped),
            self.has_d.then(|| vec![self.d_inner]),
            self.has_z.then_some(inner),
            self.has_dt_bias.then(|| vec![self.d_inner]),
            self.has_initial_state
                .then(|| vec![self.batch, self.d_inner, self.d_state]),
        ]
    }

    fn label(&self) -> String {
        let Self {
            batch,
            seq,
            d_inner,
            d_state,
            ngroups,
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
        format!("b{batch} l{seq} d{d_inner} n{d_state} g{ngroups}{on}")
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
        B::selective_scan_forward(operands, reset, self, false)
    }

    fn naive(&self, operands: &[Vec<Var>; 9], reset: Option<&[f32]>) -> (Vec<Var>, Vec<Var>) {
        let [u, dt, a, b, c, d, z, dt_bias, initial_state] = operands;
        let (channels, states) = (self.d_inner, self.d_state);
        let mut h = match self.has_initial_state {
            true => initial_state.clone(),
            false => vec![Var::ZERO; self.batch * channels * states],
        };
        let mut y = vec![Var::ZERO; u.len()];
        for row in 0..self.batch {
            for t in 0..self.seq {
                let step = row * self.seq + t;
                for ch in 0..channels {
                    let at = step * channels + ch;
                    let raw = dt[at]
                        + if self.has_dt_bias {
                            dt_bias[ch]
                        } else {
                            Var::ZERO
                        };
                    let dt = match self.dt_softplus {
                        true => raw.softplus(),
                        false => raw,
                    };
                    let group = ch / (channels / self.ngroups);
                    let mut sum = if self.has_d { d[ch] * u[at] } else { Var::ZERO };
                    for n in 0..states {
                        let h = &mut h[(row * channels + ch) * states + n];
                        let grouped = (step * self.ngroups + group) * states + n;
                        if reset.is_some_and(|reset| reset[step] != 0.0) {
                            *h = Var::ZERO;
                        }
                        *h = (dt * a[ch * states + n]).exp() * *h + dt * b[grouped] * u[at];
                        sum += c[grouped] * *h;
                    }
                    y[at] = match self.has_z {
                        true => sum * z[at].silu(),
                        false => sum,
                    };
                }
            }
        }
        (y, h)
    }
}

/// Everything on.
pub(super) fn problem(
    batch: usize,
    seq: usize,
    d_inner: usize,
    d_state: usize,
    ngroups: usize,
) -> SelectiveScanProblem {
    SelectiveScanProblem {
        batch,
        seq,
        d_inner,
        d_state,
        ngroups,
        has_d: true,
        has_z: true,
        has_dt_bias: true,
        has_initial_state: true,
        dt_softplus: true,
    }
}

/// Everything off.
pub(super) fn plain(problem: SelectiveScanProblem) -> SelectiveScanProblem {
    SelectiveScanProblem {
        has_d: false,
        has_z: false,
        has_dt_bias: false,
        has_initial_state: false,
        dt_softplus: false,
        ..problem
    }
}

/// Lengths off every grid, groups 1, 2 and as many as channels, operands there and not, documents.
pub(crate) fn cases() -> Vec<Case<SelectiveScanProblem>> {
    let mut cases = Vec::new();
    let mut add = |problem: SelectiveScanProblem| {
        cases.push(Case::seeded(problem, 1));
        cases.push(Case::seeded(plain(problem), 2));
    };
    for seq in [1, 3, 63, 65, 130, 333] {
        for ngroups in [1, 2, 12] {
            add(problem(2, seq, 12, 5, ngroups));
        }
    }
    add(problem(3, 65, 24, 8, 2));
    add(problem(1, 130, 144, 16, 9));
    // Cubes that end within a plane, in chunks.
    add(problem(1, 130, 10, 2, 1));
    add(problem(2, 130, 5, 8, 1));
    add(problem(1, 2048, 4, 3, 2));
    // Channels and batch enough to fill a device: units have more states each then.
    add(problem(8, 3, 512, 16, 32));
    // A group in parts, and states too many to be saved.
    add(problem(2, 63, 40, 16, 1));
    add(problem(1, 130, 24, 40, 1));
    cases.push(extreme(Case::seeded(problem(2, 65, 24, 8, 2), 4)));
    let documents = |problem, starts: &[usize]| Case::seeded(problem, 3).with_documents(starts);
    cases.push(documents(problem(2, 65, 24, 8, 2), &[0, 5, 6, 32, 64]));
    cases.push(documents(plain(problem(2, 65, 24, 8, 2)), &[5, 6, 63]));
    cases.push(documents(problem(1, 333, 48, 16, 3), &[100, 101, 240]));
    cases
}

/// The cases of `kernel_selective_scan`: `[batch, d, l]` and `[batch, g, n, l]` in the file.
pub(crate) fn golden(
    file: &Tensors,
) -> Result<Vec<GoldenCase<Case<SelectiveScanProblem>>>, GoldenError> {
    let [batch, d_inner, seq] = file.dims("in.u")?;
    let [_, ngroups, d_state, _] = file.dims("in.B")?;
    let read = |key: &str, name: &str| {
        let axes: &[usize] = match key {
            "u" | "delta" | "delta_pos" | "z" | "dy" | "y" => &[0, 2, 1],
            "B" | "C" => &[0, 3, 1, 2],
            _ => return Ok(file.get(name)?.clone()),
        };
        file.permuted(name, axes)
    };
    let mut cases = Vec::new();
    for name in ["full", "no_z", "no_d", "no_bias", "plain"] {
        let is_plain = name == "plain";
        let problem = SelectiveScanProblem {
            batch,
            seq,
            d_inner,
            d_state,
            ngroups,
            has_d: !is_plain && name != "no_d",
            has_z: !is_plain && name != "no_z",
            has_dt_bias: !is_plain && name != "no_bias",
            has_initial_state: false,
            dt_softplus: !is_plain,
        };
        let input = |has: bool, key: &str| match has {
            true => Ok(read(key, &format!("in.{key}"))?.floats()),
            false => Ok(Vec::new()),
        };
        let case = Case {
            problem,
            operands: [
                input(true, "u")?,
                input(true, if is_plain { "delta_pos" } else { "delta" })?,
                input(true, "A")?,
                input(true, "B")?,
                input(true, "C")?,
                input(problem.has_d, "D")?,
                input(problem.has_z, "z")?,
                input(problem.has_dt_bias, "delta_bias")?,
                Vec::new(),
            ],
            reset: None,
            dy: input(true, "dy")?,
            dlast: input(true, "dlast_state")?,
        };
        let mut golden = GoldenCase::new(name, case);
        golden.expect("y", read("y", &format!("{name}.y"))?);
        golden.expect("last_state", read("", &format!("{name}.last_state"))?);
        let keys = ["u", "delta", "A", "B", "C", "D", "z", "delta_bias"];
        for (index, key) in keys.into_iter().enumerate() {
            if !golden.case.operands[index].is_empty() {
                golden.expect_gradient(index, read(key, &format!("{name}.grad.{key}"))?);
            }
        }
        cases.push(golden);
    }
    Ok(cases)
}
