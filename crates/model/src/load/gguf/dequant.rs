//! GGUF tensor types and their values in `f32`.
//!
//! A block is a short run of one row with shared scales. Products and sums are rounded separately
//! (no fused multiply-add), so the values are the same on every machine.

use half::{bf16, f16};

/// How a tensor is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(non_camel_case_types, reason = "the names the GGUF format gives them")]
pub enum TensorType {
    /// 32-bit floats
    F32,
    /// 16-bit floats
    F16,
    /// bfloat16
    BF16,
    /// 32 values: scale, 4-bit values around 8
    Q4_0,
    /// 32 values: scale, minimum, 4-bit values
    Q4_1,
    /// 32 values: scale, 5-bit values around 16
    Q5_0,
    /// 32 values: scale, minimum, 5-bit values
    Q5_1,
    /// 32 values: scale, signed bytes
    Q8_0,
    /// 256 values in 16 groups: scale, a signed byte a group, 6-bit values around 32
    Q6_K,
}

impl TensorType {
    /// The supported types, for messages.
    pub(super) const NAMES: &'static str =
        "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q6_K (requantise the file to one of these)";

    /// The type of a code in the tensor table; `None` when it is not supported.
    pub fn from_code(code: u32) -> Option<Self> {
        Some(match code {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::Q4_0,
            3 => Self::Q4_1,
            6 => Self::Q5_0,
            7 => Self::Q5_1,
            8 => Self::Q8_0,
            14 => Self::Q6_K,
            30 => Self::BF16,
            _ => return None,
        })
    }

    /// The code in the tensor table.
    pub(crate) fn code(self) -> u32 {
        (0..=u32::from(u8::MAX))
            .find(|code| Self::from_code(*code) == Some(self))
            .expect("every type has a code")
    }

    /// Values in one block.
    pub fn block_elements(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q6_K => 256,
            _ => 32,
        }
    }

    /// Bytes of one block.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q4_0 => 2 + 16,
            Self::Q4_1 => 2 + 2 + 16,
            Self::Q5_0 => 2 + 4 + 16,
            Self::Q5_1 => 2 + 2 + 4 + 16,
            Self::Q8_0 => 2 + 32,
            Self::Q6_K => 128 + 64 + 16 + 2,
        }
    }

    /// The values of whole blocks; bytes after the last whole block are ignored.
    pub fn dequantise(self, stored: &[u8]) -> Vec<f32> {
        let blocks = stored.chunks_exact(self.block_bytes());
        let mut values = Vec::with_capacity(blocks.len() * self.block_elements());
        for block in blocks {
            self.push_block(block, &mut values);
        }
        values
    }

    fn push_block(self, block: &[u8], values: &mut Vec<f32>) {
        let half_at = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]).to_f32();
        match self {
            Self::F32 => {
                values.push(f32::from_le_bytes([block[0], block[1], block[2], block[3]]));
            }
            Self::F16 => values.push(half_at(0)),
            Self::BF16 => values.push(bf16::from_le_bytes([block[0], block[1]]).to_f32()),
            Self::Q4_0 => {
                let d = half_at(0);
                let value = |q: u8| (f32::from(q) - 8.0) * d;
                values.extend(block[2..].iter().map(|q| value(q & 15)));
                values.extend(block[2..].iter().map(|q| value(q >> 4)));
            }
            Self::Q4_1 => {
                let (d, m) = (half_at(0), half_at(2));
                // The low nibbles are the first half of the block, the high ones the second.
                values.extend(block[4..].iter().map(|q| f32::from(q & 15) * d + m));
                values.extend(block[4..].iter().map(|q| f32::from(q >> 4) * d + m));
            }
            Self::Q5_0 => {
                let d = half_at(0);
                let high = u32::from_le_bytes([block[2], block[3], block[4], block[5]]);
                push_five_bits(&block[6..], high, values, |q| (q - 16.0) * d);
            }
            Self::Q5_1 => {
                let (d, m) = (half_at(0), half_at(2));
                let high = u32::from_le_bytes([block[4], block[5], block[6], block[7]]);
                push_five_bits(&block[8..], high, values, |q| q * d + m);
            }
            Self::Q8_0 => {
                let d = half_at(0);
                values.extend(block[2..].iter().map(|q| f32::from(*q as i8) * d));
            }
            Self::Q6_K => push_q6_k(block, half_at(208), values),
        }
    }
}

/// 16 bytes of low nibbles and a fifth bit a value in `high`.
fn push_five_bits(low: &[u8], high: u32, values: &mut Vec<f32>, value: impl Fn(f32) -> f32) {
    let fifth = |at: usize| ((high >> at) & 1) as u8 * 16;
    values.extend(
        low.iter()
            .enumerate()
            .map(|(at, q)| value(f32::from((q & 15) | fifth(at)))),
    );
    values.extend(
        low.iter()
            .enumerate()
            .map(|(at, q)| value(f32::from((q >> 4) | fifth(at + 16)))),
    );
}

/// Two halves of 128 values; in each, four runs of 32 share the bytes of `low` and `high`.
fn push_q6_k(block: &[u8], d: f32, values: &mut Vec<f32>) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    for half in 0..2 {
        for run in 0..4 {
            for at in 0..32 {
                let nibbles = low[half * 64 + (run % 2) * 32 + at];
                let nibble = if run < 2 { nibbles & 15 } else { nibbles >> 4 };
                let top = (high[half * 32 + at] >> (2 * run)) & 3;
                let scale = f32::from(scales[half * 8 + run * 2 + at / 16] as i8);
                values.push(d * scale * (f32::from(nibble | (top << 4)) - 32.0));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(head: &[f32], rest: impl IntoIterator<Item = u8>) -> Vec<u8> {
        let halves = head
            .iter()
            .flat_map(|value| f16::from_f32(*value).to_le_bytes());
        halves.chain(rest).collect()
    }

    #[test]
    fn q4_1_keeps_halves_apart_and_adds_the_minimum() {
        let stored = block(&[0.5, -1.0], (0..16).map(|j| j | ((15 - j) << 4)));
        let values = TensorType::Q4_1.dequantise(&stored);
        assert_eq!(values.len(), 32);
        for j in 0..16 {
            assert_eq!(values[j], j as f32 * 0.5 - 1.0);
            assert_eq!(values[j + 16], (15 - j) as f32 * 0.5 - 1.0);
        }
    }

    #[test]
    fn q4_0_subtracts_eight() {
        let values = TensorType::Q4_0.dequantise(&block(&[2.0], (0..16).map(|j| j | (8 << 4))));
        assert_eq!(&values[..3], &[-16.0, -14.0, -12.0]);
        assert!(values[16..].iter().all(|value| *value == 0.0));
    }

    #[test]
    fn five_bit_types_take_the_high_bit_from_the_mask() {
        let mask = (1u32 << 0 | 1 << 31).to_le_bytes();
        let rest = mask.into_iter().chain(std::iter::repeat_n(0x21, 16));
        let values = TensorType::Q5_0.dequantise(&block(&[1.0], rest.clone()));
        assert_eq!(
            (values[0], values[1], values[16], values[31]),
            (1.0, -15.0, -14.0, 2.0)
        );
        let values = TensorType::Q5_1.dequantise(&block(&[1.0, 0.5], rest));
        assert_eq!(
            (values[0], values[1], values[16], values[31]),
            (17.5, 1.5, 2.5, 18.5)
        );
    }

    #[test]
    fn q8_0_is_signed() {
        let values = TensorType::Q8_0.dequantise(&block(&[0.25], (0..32).map(|j| 240 + j)));
        assert_eq!((values[0], values[15], values[16]), (-4.0, -0.25, 0.0));
    }

    #[test]
    fn q6_k_places_runs_and_scales() {
        // Low nibbles 1, high nibbles 2, upper bits 0, 1, 2, 3 by run, group scales 0..16.
        let mut stored = vec![0x21u8; 128];
        stored.extend([0b11_10_01_00u8; 64]);
        stored.extend(0..16u8);
        stored.extend(f16::from_f32(0.5).to_le_bytes());
        let values = TensorType::Q6_K.dequantise(&stored);
        assert_eq!(values.len(), 256);
        for (at, value) in values.iter().enumerate() {
            let run = at % 128 / 32;
            let q = [1, 1 + 16, 2 + 32, 2 + 48][run] as f32 - 32.0;
            assert_eq!(*value, 0.5 * (at / 16) as f32 * q, "value {at}");
        }
    }

    #[test]
    fn plain_floats_pass_through() {
        assert_eq!(TensorType::F32.dequantise(&1.5f32.to_le_bytes()), [1.5]);
        assert_eq!(
            TensorType::F16.dequantise(&f16::from_f32(-2.5).to_le_bytes()),
            [-2.5]
        );
        assert_eq!(
            TensorType::BF16.dequantise(&bf16::from_f32(3.0).to_le_bytes()),
            [3.0]
        );
    }
}
