//! Changes to the bytes of a file, drawn and shrunk by proptest.
use proptest::prelude::*;

/// Numbers at which sums, products and conversions turn.
const NUMBERS: [u64; 14] = [
    0,
    1,
    0x7f,
    0xff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 24,
    100_000_000,
    1 << 40,
    0x1c71_c71c_71c7_1c72,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
];

/// One change; places are shares of the file's length, so that shrinking another change keeps them sensible.
#[derive(Clone, Debug)]
pub enum Change {
    Flip { at: u32, bit: u8 },
    Set { at: u32, byte: u8 },
    Number { at: u32, number: usize, width: u8 },
    Digits { at: u32, number: usize },
    Cut { at: u32 },
    Remove { at: u32, length: u16 },
    Repeat { at: u32, length: u16, times: u16 },
    Move { from: u32, to: u32, length: u16 },
    Insert { at: u32, word: usize },
    Replace { at: u32, word: usize },
}

pub fn change() -> impl Strategy<Value = Change> {
    let at = any::<u32>;
    let length = || prop_oneof![8 => 1u16..16, 3 => 16u16..300, 1 => any::<u16>()];
    prop_oneof![
        (at(), 0u8..8).prop_map(|(at, bit)| Change::Flip { at, bit }),
        (at(), any::<u8>()).prop_map(|(at, byte)| Change::Set { at, byte }),
        (
            at(),
            any::<usize>(),
            prop_oneof![Just(1u8), Just(4), Just(8)]
        )
            .prop_map(|(at, number, width)| Change::Number { at, number, width }),
        (at(), any::<usize>()).prop_map(|(at, number)| Change::Digits { at, number }),
        at().prop_map(|at| Change::Cut { at }),
        (at(), length()).prop_map(|(at, length)| Change::Remove { at, length }),
        (at(), length(), prop_oneof![9 => 1u16..5, 1 => 5u16..2000])
            .prop_map(|(at, length, times)| Change::Repeat { at, length, times }),
        (at(), at(), length()).prop_map(|(from, to, length)| Change::Move { from, to, length }),
        (at(), any::<usize>()).prop_map(|(at, word)| Change::Insert { at, word }),
        (at(), any::<usize>()).prop_map(|(at, word)| Change::Replace { at, word }),
    ]
}

/// No file grows beyond this.
const MOST_BYTES: usize = 1 << 18;

impl Change {
    /// Changes `bytes`; `words` are pieces that files of the format are made of.
    pub fn apply(&self, bytes: &mut Vec<u8>, words: &[&str]) {
        let end = bytes.len();
        let place = move |at: u32| ((u64::from(at) * (end as u64 + 1)) >> 32) as usize;
        let range = move |at: u32, length: u16| {
            let start = place(at);
            start..(start + usize::from(length)).min(end)
        };
        match *self {
            Self::Flip { at, bit } => {
                if let Some(byte) = bytes.get_mut(place(at)) {
                    *byte ^= 1 << bit;
                }
            }
            Self::Set { at, byte } => {
                if let Some(old) = bytes.get_mut(place(at)) {
                    *old = byte;
                }
            }
            Self::Number { at, number, width } => {
                let number = NUMBERS[number % NUMBERS.len()].to_le_bytes();
                let range = range(at, u16::from(width));
                let length = range.len();
                bytes[range].copy_from_slice(&number[..length]);
            }
            Self::Digits { at, number } => {
                let start = place(at);
                let is_digit = |byte: &u8| byte.is_ascii_digit();
                let Some(skipped) = bytes[start..].iter().position(is_digit) else {
                    return;
                };
                let start = start + skipped;
                let length = bytes[start..]
                    .iter()
                    .take_while(|byte| is_digit(byte))
                    .count();
                let number = NUMBERS[number % NUMBERS.len()].to_string();
                bytes.splice(start..start + length, number.into_bytes());
            }
            Self::Cut { at } => bytes.truncate(place(at)),
            Self::Remove { at, length } => drop(bytes.drain(range(at, length))),
            Self::Repeat { at, length, times } => {
                let range = range(at, length);
                let most = MOST_BYTES.saturating_sub(bytes.len()) / range.len().max(1);
                let piece = bytes[range.clone()].repeat(usize::from(times).min(most));
                bytes.splice(range.end..range.end, piece);
            }
            Self::Move { from, to, length } => {
                let piece: Vec<u8> = bytes[range(from, length)].to_vec();
                let start = place(to);
                let end = (start + piece.len()).min(bytes.len());
                bytes.splice(start..end, piece);
            }
            Self::Insert { at, word } => {
                let start = place(at);
                let word = words[word % words.len()].bytes();
                bytes.splice(start..start, word);
            }
            Self::Replace { at, word } => {
                let word = words[word % words.len()];
                let range = range(at, word.len() as u16);
                bytes.splice(range, word.bytes());
            }
        }
    }
}
