//! `forward`: logits and hidden states of given tokens, for comparison with another implementation.
use std::io::Write;
use std::path::Path;

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use model::HybridModel;
use serde_json::json;

use crate::backend::{Device, InnerBackend};
use crate::builtin::load_path;
use crate::cli::ForwardArgs;
use crate::commands::Outcome;
use crate::data::token_ids::read_token_rows;
use crate::error::DistillError;

/// Writes `logits` `[batch, seq, vocab]`, `hidden.{i}` `[batch, seq, d_model]` after each block, and with `--steps`
/// `step_logits` `[batch, steps, vocab]`, all f32.
///
/// # Errors
/// An unreadable model or token file, ids outside the vocabulary, an output that cannot be written.
pub fn run(args: ForwardArgs, device: &Device) -> anyhow::Result<Outcome> {
    check_output(&args.output)?;
    let model = load_path::<InnerBackend>(&args.model, device)?.model;
    let vocab_size = model.config().llama.vocab_size;
    let rows = read_token_rows(&args.tokens, vocab_size)?;
    let steps = match &args.steps {
        Some(path) => Some(read_steps(path, vocab_size, rows.len())?),
        None => None,
    };

    let tokens = token_tensor::<InnerBackend>(&rows, device);
    let (hidden, logits) = model.hidden_states(tokens.clone());
    let mut tensors = vec![("logits".to_owned(), F32Tensor::read(logits))];
    for (layer_idx, hidden) in hidden.into_iter().enumerate() {
        tensors.push((format!("hidden.{layer_idx}"), F32Tensor::read(hidden)));
    }
    if let Some(steps) = steps {
        let logits = step_logits(&model, tokens, token_tensor(&steps, device));
        tensors.push(("step_logits".to_owned(), F32Tensor::read(logits)));
    }

    model::files::write_with(&args.output, |part| write_safetensors(part, &tensors))?;
    Ok(Outcome::Done)
}

/// Finds a path that cannot be written before minutes of work, not after.
fn check_output(output: &Path) -> Result<(), DistillError> {
    if output.is_dir() {
        return Err(DistillError::Malformed {
            path: output.into(),
            found: "a folder".into(),
            expected: "the path of a file to write, such as `out.safetensors`".into(),
        });
    }
    let folder = match output.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    match std::fs::metadata(folder) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(DistillError::Malformed {
            path: folder.into(),
            found: "a file".into(),
            expected: format!("a folder to write `{}` in", output.display()),
        }),
        Err(source) => Err(DistillError::Io {
            action: "write into",
            path: folder.into(),
            source,
        }),
    }
}

fn read_steps(path: &Path, vocab_size: usize, batch: usize) -> Result<Vec<Vec<u32>>, DistillError> {
    let steps = read_token_rows(path, vocab_size)?;
    if steps.len() == batch {
        return Ok(steps);
    }
    Err(DistillError::Malformed {
        path: path.into(),
        found: format!("{} rows", steps.len()),
        expected: format!("{batch}: one for each row of `--tokens`"),
    })
}

/// Logits of each of `steps`, fed one at a time after `tokens`: `[batch, steps, vocab]`.
fn step_logits(
    model: &HybridModel<InnerBackend>,
    tokens: Tensor<InnerBackend, 2, Int>,
    steps: Tensor<InnerBackend, 2, Int>,
) -> Tensor<InnerBackend, 3> {
    let [batch, seq] = tokens.dims();
    let [_, count] = steps.dims();
    let mut cache = model.new_cache(batch, seq + count);
    model.hidden_cached(tokens, &mut cache);
    let logits =
        (0..count).map(|step| model.forward_cached(steps.clone().narrow(1, step, 1), &mut cache));
    Tensor::cat(logits.collect(), 1)
}

fn token_tensor<B: Backend>(rows: &[Vec<u32>], device: &B::Device) -> Tensor<B, 2, Int> {
    let ids: Vec<i32> = rows.iter().flatten().map(|id| *id as i32).collect();
    let seq = rows.first().map_or(0, Vec::len);
    Tensor::from_data(TensorData::new(ids, [rows.len(), seq]), device)
}

/// A tensor on the host.
struct F32Tensor {
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl F32Tensor {
    fn read<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Self {
        let shape = tensor.dims().to_vec();
        let values = tensor.into_data().iter::<f32>().collect();
        Self { shape, values }
    }
}

/// Writes tensors one by one, since logits of a long text do not fit into memory twice.
fn write_safetensors(
    file: &mut impl Write,
    tensors: &[(String, F32Tensor)],
) -> std::io::Result<()> {
    let mut header = serde_json::Map::new();
    let mut offset = 0;
    for (name, tensor) in tensors {
        let end = offset + 4 * tensor.values.len();
        let entry = json!({"dtype": "F32", "shape": tensor.shape, "data_offsets": [offset, end]});
        header.insert(name.clone(), entry);
        offset = end;
    }
    let mut header = serde_json::Value::Object(header).to_string();
    // The data start at a multiple of 8.
    let padding = header.len().next_multiple_of(8) - header.len();
    header.push_str(&" ".repeat(padding));

    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    for value in tensors.iter().flat_map(|(_, tensor)| &tensor.values) {
        file.write_all(&value.to_le_bytes())?;
    }
    Ok(())
}
