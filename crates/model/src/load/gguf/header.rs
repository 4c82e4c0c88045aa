//! What a GGUF header says: metadata, tensor table, and the values of one tensor on demand.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::dequant::TensorType;
use super::reader::{HeaderReader, invalid};
use crate::error::ModelError;

/// One metadata value. Integers are widened, `f32` becomes the same number in `f64`.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Any unsigned integer
    Unsigned(u64),
    /// Any signed integer
    Signed(i64),
    /// `f32` or `f64`
    Float(f64),
    /// A truth value
    Bool(bool),
    /// UTF-8 text
    Text(String),
    /// Values of one type
    Array(Vec<Value>),
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Self::Unsigned(_) => "an unsigned integer",
            Self::Signed(_) => "a signed integer",
            Self::Float(_) => "a float",
            Self::Bool(_) => "a bool",
            Self::Text(_) => "a string",
            Self::Array(_) => "an array",
        }
    }
}

/// One row of the tensor table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Row-major shape: GGUF writes the fastest dimension first, this is the reverse
    pub shape: Vec<usize>,
    /// How the values are stored
    pub tensor_type: TensorType,
    /// First byte in the file
    pub offset: u64,
    /// Stored size in bytes
    pub bytes: u64,
}

impl TensorInfo {
    /// Number of values.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// An opened GGUF file, version 2 or 3, little-endian.
#[derive(Debug)]
pub struct GgufFile {
    path: PathBuf,
    file_bytes: u64,
    metadata: BTreeMap<String, Value>,
    tensors: BTreeMap<String, TensorInfo>,
}

impl GgufFile {
    /// Reads the header and checks that every tensor lies inside the file.
    ///
    /// # Errors
    /// [`ModelError::Io`] when it cannot be read, [`ModelError::Truncated`] when it ends early,
    /// [`ModelError::Gguf`] when it is not GGUF, or says something impossible or unsupported.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        let path = path.as_ref().to_path_buf();
        let file = File::open(&path).map_err(ModelError::io(&path))?;
        let file_bytes = file.metadata().map_err(ModelError::io(&path))?.len();
        let input = BufReader::with_capacity(1 << 16, file);
        let (metadata, tensors) = HeaderReader::new(&path, input, file_bytes).header()?;
        Ok(Self {
            path,
            file_bytes,
            metadata,
            tensors,
        })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Size of the file in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// All metadata by key.
    pub fn metadata(&self) -> &BTreeMap<String, Value> {
        &self.metadata
    }

    /// The tensor table by name.
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    /// A non-negative integer of the metadata; `None` when the key is absent.
    pub fn unsigned(&self, key: &str) -> Result<Option<u64>, ModelError> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Value::Unsigned(value)) => Ok(Some(*value)),
            Some(Value::Signed(value)) if *value >= 0 => Ok(Some(value.unsigned_abs())),
            Some(other) => Err(self.wrong_kind(key, other, "a non-negative integer")),
        }
    }

    /// A float of the metadata; `None` when the key is absent.
    pub fn float(&self, key: &str) -> Result<Option<f64>, ModelError> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Value::Float(value)) if value.is_finite() => Ok(Some(*value)),
            Some(other) => Err(self.wrong_kind(key, other, "a finite float")),
        }
    }

    /// A truth value of the metadata; `None` when the key is absent.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>, ModelError> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(self.wrong_kind(key, other, "a bool")),
        }
    }

    /// A string of the metadata; `None` when the key is absent.
    pub fn text(&self, key: &str) -> Result<Option<&str>, ModelError> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Value::Text(value)) => Ok(Some(value)),
            Some(other) => Err(self.wrong_kind(key, other, "a string")),
        }
    }

    /// An array of the metadata; `None` when the key is absent.
    pub fn array(&self, key: &str) -> Result<Option<&[Value]>, ModelError> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Value::Array(value)) => Ok(Some(value)),
            Some(other) => Err(self.wrong_kind(key, other, "an array")),
        }
    }

    /// An array of strings of the metadata; `None` when the key is absent.
    pub fn texts(&self, key: &str) -> Result<Option<Vec<&str>>, ModelError> {
        let Some(values) = self.array(key)? else {
            return Ok(None);
        };
        let texts = values.iter().map(|value| match value {
            Value::Text(text) => Ok(text.as_str()),
            other => Err(self.wrong_kind(key, other, "an array of strings")),
        });
        texts.collect::<Result<_, _>>().map(Some)
    }

    /// The tensor `name`, dequantised to `f32`, row-major in [`TensorInfo::shape`] order.
    ///
    /// # Errors
    /// [`ModelError::Gguf`] when there is no such tensor, [`ModelError::Io`] when reading fails.
    pub fn tensor(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>), ModelError> {
        let info = self.tensors.get(name).ok_or_else(|| {
            self.invalid(
                format!("tensor `{name}`"),
                "no such tensor",
                "one in the tensor table",
            )
        })?;
        let io = || ModelError::io(&self.path);
        let mut file = File::open(&self.path).map_err(io())?;
        file.seek(SeekFrom::Start(info.offset)).map_err(io())?;
        // `info.bytes` was checked against the file's length in `open`.
        let mut stored = vec![0u8; info.bytes as usize];
        file.read_exact(&mut stored).map_err(io())?;
        Ok((info.shape.clone(), info.tensor_type.dequantise(&stored)))
    }

    /// The error for something in this file that cannot be used.
    pub(crate) fn invalid(
        &self,
        field: impl Into<String>,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> ModelError {
        invalid(&self.path, field, found, expected)
    }

    fn wrong_kind(&self, key: &str, value: &Value, expected: &str) -> ModelError {
        let found = match value {
            Value::Array(_) | Value::Text(_) => value.kind().to_string(),
            other => format!("{} {other:?}", other.kind()),
        };
        self.invalid(format!("metadata key `{key}`"), found, expected)
    }
}
