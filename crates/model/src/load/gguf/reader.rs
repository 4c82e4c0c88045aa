//! Reading a GGUF header without believing it: every length is compared with what is left of the
//! file before a byte is allocated, and every tensor's extent is checked before any is read.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use super::dequant::TensorType;
use super::header::{TensorInfo, Value};
use crate::error::ModelError;

/// Most dimensions a GGUF tensor can have.
const MAX_DIMS: u32 = 4;
/// Arrays may hold arrays; no real file goes deeper than one.
const MAX_NESTING: u32 = 4;
/// What a header may take in memory beyond twice the file.
const SPARE_BYTES: u64 = 16 << 20;
/// Memory of an entry of either table without what its strings hold, with room for the tree that it is in.
const ENTRY_BYTES: u64 = 192;
/// Smallest tensor table entry: name length, dimension count, one dimension, type, offset.
const MIN_TENSOR_ENTRY_BYTES: u64 = 8 + 4 + 8 + 4 + 8;
/// Smallest metadata entry: key length, type, a one-byte value.
const MIN_METADATA_ENTRY_BYTES: u64 = 8 + 4 + 1;

/// Reads the header front to back and knows how much of the file is left.
pub(super) struct HeaderReader<'a, R> {
    path: &'a Path,
    input: R,
    position: u64,
    file_bytes: u64,
    /// Bytes that what is read may still take in memory
    memory: u64,
}

/// Metadata by key, tensors by name.
pub(super) type Header = (BTreeMap<String, Value>, BTreeMap<String, TensorInfo>);

impl<'a, R: Read> HeaderReader<'a, R> {
    /// `input` is at the start of a file of `file_bytes`; `path` is for messages.
    pub(super) fn new(path: &'a Path, input: R, file_bytes: u64) -> Self {
        Self {
            path,
            input,
            position: 0,
            file_bytes,
            memory: file_bytes.saturating_mul(2).saturating_add(SPARE_BYTES),
        }
    }

    pub(super) fn header(mut self) -> Result<Header, ModelError> {
        if &self.bytes::<4>("the magic number")? != b"GGUF" {
            return Err(self.invalid("the first four bytes", "something else", "`GGUF`"));
        }
        let version = self.u32("the version")?;
        if version.swap_bytes() == 2 || version.swap_bytes() == 3 {
            return Err(self.invalid("byte order", "big-endian", "little-endian"));
        }
        if version != 2 && version != 3 {
            return Err(self.invalid("version", version.to_string(), "2 or 3"));
        }
        let n_tensors = self.u64("the tensor count")?;
        let n_metadata = self.u64("the metadata count")?;
        self.room(n_metadata, MIN_METADATA_ENTRY_BYTES, "the metadata")?;
        let mut metadata = BTreeMap::new();
        for index in 0..n_metadata {
            self.hold(1, ENTRY_BYTES, "the metadata")?;
            let key = self.string(&format!("the name of metadata entry {index}"))?;
            let field = format!("metadata key `{key}`");
            let value_type = self.u32(&field)?;
            let value = self.value(value_type, &field, 0)?;
            if metadata.insert(key, value).is_some() {
                return Err(self.invalid(field, "it twice", "each key once"));
            }
        }
        self.room(n_tensors, MIN_TENSOR_ENTRY_BYTES, "the tensor table")?;
        let mut tensors = BTreeMap::new();
        for index in 0..n_tensors {
            self.hold(1, ENTRY_BYTES, "the tensor table")?;
            let name = self.string(&format!("the name of tensor {index}"))?;
            let info = self.tensor_info(&name)?;
            if tensors.insert(name.clone(), info).is_some() {
                return Err(self.invalid(
                    format!("tensor `{name}`"),
                    "it twice",
                    "each tensor once",
                ));
            }
        }
        self.place(&metadata, &mut tensors)?;
        Ok((metadata, tensors))
    }

    /// Turns the offsets of the table into offsets of the file and checks every extent.
    fn place(
        &self,
        metadata: &BTreeMap<String, Value>,
        tensors: &mut BTreeMap<String, TensorInfo>,
    ) -> Result<(), ModelError> {
        let alignment = match metadata.get("general.alignment") {
            None => 32,
            Some(Value::Unsigned(value)) if value.is_power_of_two() && *value <= 1 << 20 => *value,
            Some(other) => {
                let expected = "a power of two up to 1048576";
                return Err(self.invalid("`general.alignment`", format!("{other:?}"), expected));
            }
        };
        let data_start = self.position.next_multiple_of(alignment);
        // The last extent first, so that a truncated download names how much is missing in all.
        let mut last_end = (0u64, None);
        for (name, info) in tensors.iter_mut() {
            if info.offset % alignment != 0 {
                let found = format!("offset {}", info.offset);
                let expected = format!("a multiple of the alignment {alignment}");
                return Err(self.invalid(format!("tensor `{name}`"), found, expected));
            }
            let offset = data_start.checked_add(info.offset);
            let Some((offset, end)) = offset.and_then(|o| Some((o, o.checked_add(info.bytes)?)))
            else {
                let found = format!("offset {} and {} bytes", info.offset, info.bytes);
                return Err(self.invalid(format!("tensor `{name}`"), found, "less than 2^64"));
            };
            info.offset = offset;
            if end > last_end.0 {
                last_end = (end, Some(name));
            }
        }
        if let (end, Some(name)) = last_end
            && end > self.file_bytes
        {
            return Err(self.truncated(&format!("tensor `{name}`"), end));
        }
        self.check_apart(tensors)
    }

    /// Bytes that many tensors share would be a model many times as large as its file.
    fn check_apart(&self, tensors: &BTreeMap<String, TensorInfo>) -> Result<(), ModelError> {
        let mut extents: Vec<_> = tensors
            .iter()
            .map(|(name, info)| (info.offset, info.bytes, name))
            .collect();
        extents.sort_unstable();
        match extents
            .windows(2)
            .find(|pair| pair[0].0 + pair[0].1 > pair[1].0)
        {
            Some(pair) => {
                let found = format!("bytes of tensor `{}`", pair[0].2);
                Err(self.invalid(format!("tensor `{}`", pair[1].2), found, "bytes of its own"))
            }
            None => Ok(()),
        }
    }

    fn tensor_info(&mut self, name: &str) -> Result<TensorInfo, ModelError> {
        let field = format!("tensor `{name}`");
        let n_dims = self.u32(&field)?;
        if n_dims == 0 || n_dims > MAX_DIMS {
            let expected = format!("1 to {MAX_DIMS}");
            return Err(self.invalid(field, format!("{n_dims} dimensions"), expected));
        }
        let mut shape = Vec::new();
        let mut elements = 1u64;
        for _ in 0..n_dims {
            let size = self.u64(&field)?;
            let product = elements
                .checked_mul(size)
                .filter(|n| *n > 0 && *n <= i64::MAX as u64 / 8);
            let (Some(product), Ok(size)) = (product, usize::try_from(size)) else {
                let found = format!("a dimension of {size}");
                return Err(self.invalid(field, found, "sizes above 0 whose product fits memory"));
            };
            elements = product;
            shape.push(size);
        }
        let code = self.u32(&field)?;
        let Some(tensor_type) = TensorType::from_code(code) else {
            let found = format!("type code {code}");
            return Err(self.invalid(field, found, format!("one of {}", TensorType::NAMES)));
        };
        let block = tensor_type.block_elements() as u64;
        if !(shape[0] as u64).is_multiple_of(block) {
            let found = format!("rows of {} values", shape[0]);
            let expected = format!("a multiple of {block}, the block size of {tensor_type:?}");
            return Err(self.invalid(field, found, expected));
        }
        let bytes = elements / block * tensor_type.block_bytes() as u64;
        let offset = self.u64(&field)?;
        shape.reverse();
        Ok(TensorInfo {
            shape,
            tensor_type,
            offset,
            bytes,
        })
    }

    fn value(&mut self, value_type: u32, field: &str, depth: u32) -> Result<Value, ModelError> {
        Ok(match value_type {
            0 => Value::Unsigned(u64::from(self.bytes::<1>(field)?[0])),
            1 => Value::Signed(i64::from(i8::from_le_bytes(self.bytes(field)?))),
            2 => Value::Unsigned(u64::from(u16::from_le_bytes(self.bytes(field)?))),
            3 => Value::Signed(i64::from(i16::from_le_bytes(self.bytes(field)?))),
            4 => Value::Unsigned(u64::from(self.u32(field)?)),
            5 => Value::Signed(i64::from(i32::from_le_bytes(self.bytes(field)?))),
            6 => Value::Float(f64::from(f32::from_le_bytes(self.bytes(field)?))),
            7 => match self.bytes::<1>(field)?[0] {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                other => return Err(self.invalid(field, format!("bool {other}"), "0 or 1")),
            },
            8 => Value::Text(self.string(field)?),
            9 if depth < MAX_NESTING => {
                let element_type = self.u32(field)?;
                let count = self.u64(field)?;
                let Some(least) = least_bytes(element_type) else {
                    let found = format!("an array of value type {element_type}");
                    return Err(self.invalid(field, found, "0 to 12"));
                };
                self.room(count, least, field)?;
                self.hold(count, size_of::<Value>() as u64, field)?;
                let mut values = Vec::with_capacity(count as usize);
                for _ in 0..count {
                    values.push(self.value(element_type, field, depth + 1)?);
                }
                Value::Array(values)
            }
            9 => return Err(self.invalid(field, "arrays in arrays in arrays", "one level")),
            10 => Value::Unsigned(self.u64(field)?),
            11 => Value::Signed(i64::from_le_bytes(self.bytes(field)?)),
            12 => Value::Float(f64::from_le_bytes(self.bytes(field)?)),
            other => return Err(self.invalid(field, format!("value type {other}"), "0 to 12")),
        })
    }

    fn string(&mut self, field: &str) -> Result<String, ModelError> {
        let length = self.u64(field)?;
        self.room(length, 1, field)?;
        self.hold(length, 1, field)?;
        // `room` has compared the length with what is left of the file.
        let mut text = vec![0u8; length as usize];
        self.fill(&mut text, field)?;
        String::from_utf8(text)
            .map_err(|_| self.invalid(field, "bytes that are not UTF-8", "UTF-8 text"))
    }

    fn u32(&mut self, field: &str) -> Result<u32, ModelError> {
        self.bytes(field).map(u32::from_le_bytes)
    }

    fn u64(&mut self, field: &str) -> Result<u64, ModelError> {
        self.bytes(field).map(u64::from_le_bytes)
    }

    fn bytes<const N: usize>(&mut self, field: &str) -> Result<[u8; N], ModelError> {
        let mut bytes = [0u8; N];
        self.fill(&mut bytes, field)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8], field: &str) -> Result<(), ModelError> {
        self.room(bytes.len() as u64, 1, field)?;
        self.input
            .read_exact(bytes)
            .map_err(ModelError::io(self.path))?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    /// Fails unless `count` entries of at least `each` bytes fit in what is left of the file.
    fn room(&self, count: u64, each: u64, field: &str) -> Result<(), ModelError> {
        let end = count.saturating_mul(each).saturating_add(self.position);
        if end > self.file_bytes {
            Err(self.truncated(field, end))
        } else {
            Ok(())
        }
    }

    /// Fails unless `count` values of `each` bytes may be held beside what is held already.
    fn hold(&mut self, count: u64, each: u64, field: &str) -> Result<(), ModelError> {
        match self.memory.checked_sub(count.saturating_mul(each)) {
            Some(left) => {
                self.memory = left;
                Ok(())
            }
            None => Err(self.invalid(
                field,
                "values that take far more memory than the file has bytes",
                "a file that is mostly tensors",
            )),
        }
    }

    fn truncated(&self, field: &str, needed: u64) -> ModelError {
        ModelError::Truncated {
            path: self.path.to_path_buf(),
            field: field.to_string(),
            needed,
            found: self.file_bytes,
        }
    }

    fn invalid(
        &self,
        field: impl Into<String>,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> ModelError {
        invalid(self.path, field, found, expected)
    }
}

/// Fewest bytes one value of this type can take.
fn least_bytes(value_type: u32) -> Option<u64> {
    match value_type {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        8 | 10..=12 => Some(8),
        9 => Some(12),
        _ => None,
    }
}

/// The error for something in a file that cannot be used.
pub(super) fn invalid(
    path: &Path,
    field: impl Into<String>,
    found: impl Into<String>,
    expected: impl Into<String>,
) -> ModelError {
    ModelError::Gguf {
        path: path.to_path_buf(),
        field: field.into(),
        found: found.into(),
        expected: expected.into(),
    }
}
