//! GGUF version 3: metadata, tensor table, aligned data.

use std::io::Write;
use std::path::Path;

use crate::error::ModelError;
use crate::files;
use crate::load::gguf::TensorType;
use crate::load::{SavePrecision, encode};

/// Tensors start at multiples of this many bytes.
const ALIGNMENT: usize = 32;
/// Codes of metadata types.
const U32: u32 = 4;
const I32: u32 = 5;
const F32: u32 = 6;
const BOOL: u32 = 7;
const TEXT: u32 = 8;
const ARRAY: u32 = 9;

/// Collects a file's metadata and tensors.
pub(super) struct GgufWriter {
    precision: SavePrecision,
    metadata: Vec<u8>,
    n_metadata: u64,
    table: Vec<u8>,
    data: Vec<Vec<u8>>,
    data_bytes: usize,
}

impl GgufWriter {
    pub(super) fn new(precision: SavePrecision) -> Self {
        Self {
            precision,
            metadata: Vec::new(),
            n_metadata: 0,
            table: Vec::new(),
            data: Vec::new(),
            data_bytes: 0,
        }
    }

    fn key(&mut self, key: &str, value_type: u32) -> &mut Vec<u8> {
        self.n_metadata += 1;
        put_text(&mut self.metadata, key);
        self.metadata.extend(value_type.to_le_bytes());
        &mut self.metadata
    }

    pub(super) fn u32(&mut self, key: &str, value: u32) {
        self.key(key, U32).extend(value.to_le_bytes());
    }

    /// A size or count; those of a checked configuration are below 2^24.
    pub(super) fn size(&mut self, key: &str, value: usize) {
        self.u32(key, value as u32);
    }

    pub(super) fn f32(&mut self, key: &str, value: f64) {
        self.key(key, F32).extend((value as f32).to_le_bytes());
    }

    pub(super) fn boolean(&mut self, key: &str, value: bool) {
        self.key(key, BOOL).push(value.into());
    }

    pub(super) fn text(&mut self, key: &str, value: &str) {
        put_text(self.key(key, TEXT), value);
    }

    fn array(&mut self, key: &str, element_type: u32, count: usize) -> &mut Vec<u8> {
        let out = self.key(key, ARRAY);
        out.extend(element_type.to_le_bytes());
        out.extend((count as u64).to_le_bytes());
        out
    }

    pub(super) fn texts(&mut self, key: &str, values: &[String]) {
        let out = self.array(key, TEXT, values.len());
        values.iter().for_each(|value| put_text(out, value));
    }

    pub(super) fn i32s(&mut self, key: &str, values: &[i32]) {
        let out = self.array(key, I32, values.len());
        out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }

    /// A matrix in the file's precision; `shape` and `values` are row-major.
    pub(super) fn matrix(
        &mut self,
        name: &str,
        shape: &[usize],
        values: &[f32],
    ) -> Result<(), ModelError> {
        self.tensor(name, shape, values, self.precision)
    }

    /// A tensor in f32, as readers expect of everything that no matrix product touches.
    pub(super) fn exact(
        &mut self,
        name: &str,
        shape: &[usize],
        values: &[f32],
    ) -> Result<(), ModelError> {
        self.tensor(name, shape, values, SavePrecision::F32)
    }

    fn tensor(
        &mut self,
        name: &str,
        shape: &[usize],
        values: &[f32],
        precision: SavePrecision,
    ) -> Result<(), ModelError> {
        let tensor_type = match precision {
            SavePrecision::F32 => TensorType::F32,
            SavePrecision::F16 => TensorType::F16,
            SavePrecision::Bf16 => TensorType::BF16,
        };
        put_text(&mut self.table, name);
        self.table.extend((shape.len() as u32).to_le_bytes());
        // The fastest dimension comes first.
        for size in shape.iter().rev() {
            self.table.extend((*size as u64).to_le_bytes());
        }
        self.table.extend(tensor_type.code().to_le_bytes());
        self.table.extend((self.data_bytes as u64).to_le_bytes());
        let mut bytes = encode(name, values, precision)?;
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        self.data_bytes += bytes.len();
        self.data.push(bytes);
        Ok(())
    }

    /// Writes the file, whole or not at all.
    pub(super) fn write(&self, path: &Path) -> Result<(), ModelError> {
        let mut header = b"GGUF".to_vec();
        header.extend(3u32.to_le_bytes());
        header.extend((self.data.len() as u64).to_le_bytes());
        header.extend(self.n_metadata.to_le_bytes());
        header.extend(&self.metadata);
        header.extend(&self.table);
        header.resize(header.len().next_multiple_of(ALIGNMENT), 0);
        Ok(files::write_with(path, |file| {
            file.write_all(&header)?;
            self.data.iter().try_for_each(|bytes| file.write_all(bytes))
        })?)
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}
