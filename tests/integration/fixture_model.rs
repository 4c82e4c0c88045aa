//! The 4-layer fixture models as checkpoint folders, made from `tests/fixtures/mamba`.
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};

/// A fixture file.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/mamba")
        .join(name)
}

/// Writes the model `name` (`teacher`, `hybrid_mamba1`, ...) into `dir` as a published checkpoint looks.
///
/// A student's file holds its `mamba.*` tensors only; the rest are the teacher's.
pub fn write_checkpoint(name: &str, dir: &Path) {
    let config: Value =
        serde_json::from_slice(&std::fs::read(fixture(&format!("{name}.config.json"))).unwrap())
            .unwrap();
    let mut hf = config.as_object().unwrap().clone();
    hf.retain(|key, _| !key.contains("mamba") && !key.contains("keys") && !key.contains("teacher"));
    hf.insert("model_type".into(), json!("llama"));
    hf.insert("max_position_embeddings".into(), json!(256));
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("config.json"), json!(hf).to_string()).unwrap();
    if let Some(mamba) = config.get("mamba_config") {
        std::fs::write(dir.join("mamba_config.json"), mamba.to_string()).unwrap();
    }

    let teacher = std::fs::read(fixture("teacher.weights.safetensors")).unwrap();
    let teacher = SafeTensors::deserialize(&teacher).unwrap();
    let own = std::fs::read(fixture(&format!("{name}.weights.safetensors"))).unwrap();
    let own = SafeTensors::deserialize(&own).unwrap();
    let shared: BTreeSet<&str> = config["keys_identical_to_teacher"]
        .as_array()
        .map(|keys| keys.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let mut tensors: BTreeMap<String, TensorView> = own.tensors().into_iter().collect();
    tensors.extend(
        teacher
            .tensors()
            .into_iter()
            .filter(|(key, _)| shared.contains(key.as_str())),
    );
    safetensors::serialize_to_file(tensors, None, &dir.join("model.safetensors")).unwrap();
}

/// The numbers of a safetensors file by name: shape and values.
pub struct Numbers(BTreeMap<String, (Vec<usize>, Vec<f64>)>);

impl Numbers {
    /// Reads a whole file.
    pub fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let read = |(name, view): (String, TensorView)| {
            let data = view.data();
            let values = match view.dtype() {
                Dtype::F32 => chunks(data)
                    .map(|bytes| f64::from(f32::from_le_bytes(bytes)))
                    .collect(),
                Dtype::F64 => chunks(data).map(f64::from_le_bytes).collect(),
                Dtype::I64 => chunks(data)
                    .map(|bytes| i64::from_le_bytes(bytes) as f64)
                    .collect(),
                other => panic!("{name} is {other:?}"),
            };
            (name, (view.shape().to_vec(), values))
        };
        Self(file.tensors().into_iter().map(read).collect())
    }

    /// Shape and values of one tensor.
    pub fn get(&self, name: &str) -> (&[usize], &[f64]) {
        let (shape, values) = self
            .0
            .get(name)
            .unwrap_or_else(|| panic!("no tensor `{name}`"));
        (shape, values)
    }

    /// Names of all tensors.
    pub fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    /// A matrix of token ids as the JSON that `forward` reads.
    pub fn ids_json(&self, name: &str) -> String {
        let (shape, values) = self.get(name);
        let rows: Vec<Vec<u32>> = values
            .chunks(shape[1])
            .map(|row| row.iter().map(|id| *id as u32).collect())
            .collect();
        json!(rows).to_string()
    }
}

fn chunks<const N: usize>(data: &[u8]) -> impl Iterator<Item = [u8; N]> {
    data.as_chunks::<N>().0.iter().copied()
}
