//! `doctor`: whether the operations of this binary compute what they should on this device.
use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;

use burn::tensor::{DType, backend::Backend};
use kernels::SsmBackend;
use kernels::self_test::{
    CaseCheck, HostTensor, Tensors, check_cases, check_golden, product_error,
};
use safetensors::{Dtype, SafeTensors};

use crate::backend::{self, Device, InnerBackend};
use crate::cli::DoctorArgs;
use crate::commands::{Outcome, env};
use crate::error::DistillError;

/// Batch, rows, inner dimension and columns of the matrix product that tells how this device multiplies.
const PRODUCT: [usize; 4] = [1, 128, 128, 128];
/// Least error of a product whose factors were rounded to less than f32.
const ROUNDED: f64 = 5e-5;

/// Prints what is around, the backend and the device, runs the self-tests, compares golden files, and says what to do about what is
/// short.
///
/// # Errors
/// An unreadable or foreign file, before anything is run; a result that is not as expected.
pub fn run(args: DoctorArgs, device: &Device) -> anyhow::Result<Outcome> {
    let files = args.golden.iter().map(|path| read_tensors(path));
    let files: Vec<Tensors> = files.collect::<Result<_, _>>()?;
    let goldens = (args.golden.iter().zip(&files))
        .map(|(path, file)| golden_checks(path, file))
        .collect::<Result<Vec<_>, _>>()?;

    let mut out = io::stdout().lock();
    let cures = env::print(&mut out, Path::new("."))?;
    print_device(&mut out, device)?;
    let (mut count, mut failures) = (0, 0);
    let mut written = Ok(());
    writeln!(out, "\n{:<15} {:<58} {:>9}", "op", "case", "error")?;
    check_cases::<InnerBackend>(device, &mut |check| {
        count += 1;
        failures += usize::from(!check.has_passed());
        if written.is_ok() {
            written = print_case(&mut out, &check);
        }
    });
    written?;
    for (path, checks) in args.golden.iter().zip(goldens) {
        writeln!(out, "\n{}", path.display())?;
        writeln!(out, "{:<15} {:<58} {:>9}", "op", "tensor", "error")?;
        for check in checks {
            for tensor in &check.tensors {
                count += 1;
                failures += usize::from(!tensor.has_passed());
                let name = format!("{}: {}", check.case, tensor.tensor);
                print_line(&mut out, check.op, &name, tensor.error, tensor.has_passed())?;
            }
        }
    }
    if !cures.is_empty() {
        writeln!(out)?;
    }
    for cure in cures {
        writeln!(out, "{cure}")?;
    }
    writeln!(out, "\n{count} checks, {failures} failed")?;
    match failures {
        0 => Ok(Outcome::Done),
        failed => Err(DistillError::SelfTest { failed, count }.into()),
    }
}

/// Backend, device, and the number types and limits that choose between kernels.
fn print_device(out: &mut impl Write, device: &Device) -> io::Result<()> {
    writeln!(
        out,
        "backend     {} ({})",
        backend::NAME,
        InnerBackend::name(device)
    )?;
    writeln!(out, "device      {device:?}")?;
    let types = [DType::F32, DType::F16, DType::BF16, DType::F64];
    let supported = types
        .into_iter()
        .filter(|&dtype| InnerBackend::supports_dtype(device, dtype));
    let names: Vec<String> = supported
        .map(|dtype| format!("{dtype:?}").to_lowercase())
        .collect();
    writeln!(out, "numbers     {}", names.join(", "))?;
    for (name, value) in InnerBackend::device_features(device) {
        writeln!(out, "{name:<11} {value}")?;
    }
    let error = product_error::<InnerBackend>(PRODUCT, device);
    let arithmetic = match error < ROUNDED {
        true => "f32",
        false => "f32 rounded by matrix units (TF32)",
    };
    writeln!(out, "products    {arithmetic}, wrong by {error:.1e}")?;
    Ok(())
}

fn print_case(out: &mut impl Write, check: &CaseCheck) -> io::Result<()> {
    let worst = check.worst();
    let passed = check.has_passed();
    let case = match passed {
        true => check.case.clone(),
        false => format!("{}: {}", check.case, worst.tensor),
    };
    print_line(out, check.op, &case, worst.error, passed)
}

fn print_line(
    out: &mut impl Write,
    op: &str,
    case: &str,
    error: f64,
    passed: bool,
) -> io::Result<()> {
    let verdict = if passed { "pass" } else { "FAIL" };
    writeln!(out, "{op:<15} {case:<58} {error:>9.1e}  {verdict}")
}

/// Runs the cases of a file.
fn golden_checks(path: &Path, file: &Tensors) -> Result<Vec<CaseCheck>, DistillError> {
    check_golden::<InnerBackend>(file).map_err(|error| DistillError::Malformed {
        path: path.into(),
        found: error.to_string(),
        expected: "golden values as in `tests/fixtures/mamba/kernel_*.safetensors`".into(),
    })
}

/// Every tensor of a safetensors file of F32 and F64.
fn read_tensors(path: &Path) -> Result<Tensors, DistillError> {
    let bytes = std::fs::read(path).map_err(|source| DistillError::Io {
        action: "read",
        path: path.into(),
        source,
    })?;
    let malformed = |found: String| DistillError::Malformed {
        path: path.into(),
        found,
        expected: "a safetensors file of F32 and F64".into(),
    };
    let file = SafeTensors::deserialize(&bytes).map_err(|error| malformed(error.to_string()))?;
    let mut tensors = HashMap::new();
    for (name, view) in file.iter() {
        let values = match view.dtype() {
            Dtype::F32 => (view.data().chunks_exact(4))
                .map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]])))
                .collect(),
            Dtype::F64 => (view.data().chunks_exact(8))
                .map(|b| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]))
                .collect(),
            other => return Err(malformed(format!("tensor `{name}` is {other:?}"))),
        };
        let shape = view.shape().to_vec();
        tensors.insert(name.to_owned(), HostTensor { shape, values });
    }
    Ok(Tensors(tensors))
}
