//! The recurrences and their gradients (method 3.1 and 3.2) as plain loops, one number at a time in f32, as one would
//! write them in C; the lines of a sequence are shared out between the cores. The floor that host loops are held to.

use kernels::testing::Seeded;
use std::hint::black_box;

/// Runs `line` for every one of `lines`, a share on each core.
fn share_out(lines: usize, line: impl Fn(usize) + Sync) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for core in 0..cores.min(lines) {
            let line = &line;
            scope.spawn(move || (core..lines).step_by(cores).for_each(line));
        }
    });
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// Inputs of a scan, or of SSD with `width` channels a line and one rate.
struct Line {
    u: Vec<f32>,
    dt: Vec<f32>,
    z: Vec<f32>,
    b: Vec<f32>,
    c: Vec<f32>,
    dy: Vec<f32>,
    a: Vec<f32>,
}

impl Line {
    fn new(seq: usize, width: usize, d_state: usize) -> Self {
        let mut seeded = Seeded::new(1);
        let mut draw = |length, low, high| seeded.uniforms(length, low, high);
        Self {
            u: draw(seq * width, -1.0, 1.0),
            dt: draw(seq * width, -4.0, 0.0),
            z: draw(seq * width, -1.0, 1.0),
            b: draw(seq * d_state, -1.0, 1.0),
            c: draw(seq * d_state, -1.0, 1.0),
            dy: draw(seq * width, -1.0, 1.0),
            a: draw(width * d_state, -16.0, -1.0),
        }
    }
}

/// The selective scan, forward and backward; a line is one group of channels of one sequence.
pub fn scan([batch, seq, d_inner, d_state, ngroups]: [usize; 5]) {
    let width = d_inner / ngroups;
    let line = Line::new(seq, width, d_state);
    let (n, states) = (d_state, width * d_state);
    share_out(batch * ngroups, |_| {
        let mut kept = vec![0.0f32; (seq + 1) * states];
        let mut y = vec![0.0f32; seq * width];
        let mut sizes = vec![0.0f32; seq * width];
        for t in 0..seq {
            for ch in 0..width {
                let at = t * width + ch;
                let size = line.dt[at].exp().ln_1p();
                sizes[at] = size;
                let mut sum = line.u[at];
                for m in 0..n {
                    let before = kept[t * states + ch * n + m];
                    let h = (size * line.a[ch * n + m]).exp() * before
                        + size * line.b[t * n + m] * line.u[at];
                    kept[(t + 1) * states + ch * n + m] = h;
                    sum += line.c[t * n + m] * h;
                }
                y[at] = sum * line.z[at] * sigmoid(line.z[at]);
            }
        }
        let mut carry = vec![0.0f32; states];
        let (mut db, mut dc) = (vec![0.0f32; seq * n], vec![0.0f32; seq * n]);
        let mut da = vec![0.0f32; states];
        let (mut du, mut ddt) = (vec![0.0f32; seq * width], vec![0.0f32; seq * width]);
        let mut dz = vec![0.0f32; seq * width];
        for t in (0..seq).rev() {
            for ch in 0..width {
                let at = t * width + ch;
                let (size, u, z) = (sizes[at], line.u[at], line.z[at]);
                let gate = sigmoid(z);
                let g = line.dy[at] * z * gate;
                let (mut sum, mut sum_u, mut sum_dt) = (u, 0.0f32, 0.0f32);
                for m in 0..n {
                    let i = ch * n + m;
                    let decay = (size * line.a[i]).exp();
                    let h = kept[(t + 1) * states + i];
                    let decayed = decay * kept[t * states + i];
                    sum += line.c[t * n + m] * h;
                    let adjoint = carry[i] + g * line.c[t * n + m];
                    dc[t * n + m] += g * h;
                    db[t * n + m] += adjoint * size * u;
                    sum_u += adjoint * line.b[t * n + m];
                    sum_dt += adjoint * line.a[i] * decayed;
                    da[i] += adjoint * size * decayed;
                    carry[i] = decay * adjoint;
                }
                dz[at] = line.dy[at] * sum * gate * (1.0 + z * (1.0 - gate));
                du[at] = g + size * sum_u;
                ddt[at] = (sum_dt + u * sum_u) * sigmoid(line.dt[at]);
            }
        }
        black_box((y, du, ddt, dz, db, dc, da));
    });
}

/// SSD as its recurrence, forward and backward; a line is one head of one sequence.
pub fn ssd([batch, seq, nheads, headdim, d_state]: [usize; 5]) {
    let line = Line::new(seq, headdim, d_state);
    let (n, states) = (d_state, headdim * d_state);
    share_out(batch * nheads, |_| {
        let mut kept = vec![0.0f32; (seq + 1) * states];
        let mut y = vec![0.0f32; seq * headdim];
        let sizes: Vec<f32> = (0..seq).map(|t| line.dt[t].exp().ln_1p()).collect();
        for t in 0..seq {
            let decay = (sizes[t] * line.a[0]).exp();
            for p in 0..headdim {
                let x = line.u[t * headdim + p];
                let mut sum = x;
                for m in 0..n {
                    let h = decay * kept[t * states + p * n + m] + sizes[t] * x * line.b[t * n + m];
                    kept[(t + 1) * states + p * n + m] = h;
                    sum += h * line.c[t * n + m];
                }
                y[t * headdim + p] = sum;
            }
        }
        let mut carry = vec![0.0f32; states];
        let (mut db, mut dc) = (vec![0.0f32; seq * n], vec![0.0f32; seq * n]);
        let (mut dx, mut ddt) = (vec![0.0f32; seq * headdim], vec![0.0f32; seq]);
        let mut da = 0.0f32;
        for t in (0..seq).rev() {
            let (size, decay) = (sizes[t], (sizes[t] * line.a[0]).exp());
            let (mut through, mut entering) = (0.0f32, 0.0f32);
            for p in 0..headdim {
                let at = t * headdim + p;
                let (x, g) = (line.u[at], line.dy[at]);
                let mut sum = 0.0f32;
                for m in 0..n {
                    let i = p * n + m;
                    let adjoint = carry[i] + g * line.c[t * n + m];
                    dc[t * n + m] += g * kept[(t + 1) * states + i];
                    db[t * n + m] += adjoint * size * x;
                    sum += adjoint * line.b[t * n + m];
                    through += adjoint * kept[t * states + i];
                    carry[i] = decay * adjoint;
                }
                dx[at] = g + size * sum;
                entering += x * sum;
            }
            ddt[t] = (entering + line.a[0] * decay * through) * sigmoid(line.dt[t]);
            da += size * decay * through;
        }
        black_box((y, dx, ddt, db, dc, da));
    });
}
