//! Reference data of `tests/fixtures/mamba`, and what compares with it.

use std::collections::HashMap;
use std::path::PathBuf;

use burn::backend::{Autodiff, Flex};
use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use safetensors::{Dtype, SafeTensors};

use crate::config::{HybridConfig, LlamaConfig, MixerKind, SsmConfig};
use crate::hybrid::HybridModel;

pub(crate) type Inner = Flex;
pub(super) type Train = Autodiff<Flex>;

/// Tensors of a file as `f64`, with their shapes.
pub(super) struct Golden(HashMap<String, (Vec<usize>, Vec<f64>)>);

pub(super) fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/mamba")
        .join(name)
}

impl Golden {
    pub(super) fn open(name: &str) -> Self {
        let bytes = std::fs::read(path(name)).expect("the fixture is in the repository");
        let file = SafeTensors::deserialize(&bytes).expect("the fixture is sound");
        let mut tensors = HashMap::new();
        for (key, view) in file.tensors() {
            let data = view.data();
            let values: Vec<f64> = match view.dtype() {
                Dtype::F64 => data
                    .chunks(8)
                    .map(|b| f64::from_le_bytes(b.try_into().unwrap()))
                    .collect(),
                Dtype::F32 => data
                    .chunks(4)
                    .map(|b| f32::from_le_bytes(b.try_into().unwrap()).into())
                    .collect(),
                Dtype::I64 => data
                    .chunks(8)
                    .map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f64)
                    .collect(),
                other => panic!("`{key}` is {other:?}"),
            };
            tensors.insert(key, (view.shape().to_vec(), values));
        }
        Self(tensors)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    pub(super) fn shape(&self, key: &str) -> &[usize] {
        &self
            .0
            .get(key)
            .unwrap_or_else(|| panic!("the fixture has `{key}`"))
            .0
    }

    pub(super) fn values(&self, key: &str) -> &[f64] {
        &self
            .0
            .get(key)
            .unwrap_or_else(|| panic!("the fixture has `{key}`"))
            .1
    }

    pub(super) fn data(&self, key: &str) -> TensorData {
        let values: Vec<f32> = self.values(key).iter().map(|v| *v as f32).collect();
        TensorData::new(values, self.shape(key).to_vec())
    }

    pub(super) fn tokens<B: Backend>(&self, key: &str) -> Tensor<B, 2, Int> {
        let ids: Vec<i64> = self.values(key).iter().map(|v| *v as i64).collect();
        Tensor::from_data(
            TensorData::new(ids, self.shape(key).to_vec()),
            &Default::default(),
        )
    }
}

pub(crate) fn config(name: &str) -> HybridConfig {
    let text = std::fs::read_to_string(path(&format!("{name}.config.json"))).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let llama = LlamaConfig::from_hf(&json, name).unwrap();
    let kind = match name {
        "teacher" => return HybridConfig::teacher(llama),
        "hybrid_mamba1" => MixerKind::Mamba1,
        _ => MixerKind::Mamba2,
    };
    let attn_layers = serde_json::from_value(json["attn_layers"].clone()).unwrap();
    let ssm = Some(SsmConfig::published(kind, &llama));
    HybridConfig {
        llama,
        attn_layers,
        ssm,
    }
}

/// The named tensors of a reference model: its own, and what it shares with the teacher.
pub(super) fn weights(name: &str) -> Vec<(String, TensorData)> {
    let text = std::fs::read_to_string(path(&format!("{name}.config.json"))).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let own = Golden::open(&format!("{name}.weights.safetensors"));
    let mut tensors: Vec<_> = own.keys().map(|key| (key.clone(), own.data(key))).collect();
    if let Some(shared) = json["keys_identical_to_teacher"].as_array() {
        let teacher = Golden::open("teacher.weights.safetensors");
        tensors.extend(shared.iter().map(|key| {
            let key = key.as_str().unwrap();
            (key.to_string(), teacher.data(key))
        }));
    }
    tensors
}

pub(crate) fn model<B: kernels::SsmBackend>(name: &str) -> HybridModel<B> {
    HybridModel::load_named(&config(name), weights(name), &Default::default()).unwrap()
}

/// `hybrid_mamba2` with attention that sees `size` keys.
pub(crate) fn under_a_window<B: kernels::SsmBackend>(size: usize) -> HybridModel<B> {
    let mut config = config("hybrid_mamba2");
    config.llama.sliding_window = Some(size);
    HybridModel::load_named(&config, weights("hybrid_mamba2"), &Default::default()).unwrap()
}

/// Fails, naming the worst element, unless every one is within `absolute` of what is expected.
#[track_caller]
pub(super) fn assert_near<B: Backend, const D: usize>(
    what: &str,
    found: Tensor<B, D>,
    expected: &[f64],
    absolute: f64,
) {
    let found: Vec<f32> = found.into_data().into_vec().unwrap();
    assert_values_near(what, &found, expected, absolute);
}

#[track_caller]
pub(super) fn assert_values_near(what: &str, found: &[f32], expected: &[f64], absolute: f64) {
    assert_eq!(found.len(), expected.len(), "{what}: number of elements");
    let mut worst = (0.0, 0);
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*f) - e).abs();
        assert!(error.is_finite(), "{what}[{i}]: found {f}, expected {e}");
        if error > worst.0 {
            worst = (error, i);
        }
    }
    let (error, i) = worst;
    assert!(
        error <= absolute,
        "{what}[{i}]: found {}, expected {}, off by {error:e}, may be off by {absolute:e}",
        found[i],
        expected[i]
    );
}

pub(super) fn root_mean_square(values: &[f64]) -> f64 {
    (values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64).sqrt()
}

/// Seeded tokens below `vocab`.
pub(crate) fn some_tokens<B: Backend>(batch: usize, seq: usize, vocab: usize) -> Tensor<B, 2, Int> {
    let mut state = 12345_u64;
    let ids: Vec<i64> = (0..batch * seq)
        .map(|_| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            ((state >> 33) % vocab as u64) as i64
        })
        .collect();
    Tensor::from_data(TensorData::new(ids, [batch, seq]), &Default::default())
}
