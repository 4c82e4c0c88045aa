//! TensorBoard's event files: TFRecord frames around `tensorflow.Event` messages, written by hand as they are few.
//!
//! A frame is the length (u64), a masked CRC-32C of it, the message, and a masked CRC-32C of that, all little-endian.
use super::RunFacts;
use crate::curves::{Metric, StageHistory};

/// An event file for each stage that has steps: its path below the log folder, and its bytes.
pub fn event_files(runs: &[&RunFacts]) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for run in runs {
        for stage in run.history.stages.iter().filter(|s| !s.steps.is_empty()) {
            let percent = crate::dashboard::percent(stage.attention_ratio);
            let (arm, kind) = (&stage.arm, stage.kind.name());
            let first_ms = stage.steps.values().next().map_or(0, |step| step.time_ms);
            let name = format!("events.out.tfevents.{:010}.distill", first_ms / 1000);
            let path = format!("{}/{arm}/{percent}-{kind}/{name}", run.folder);
            files.push((path, file(stage)));
        }
    }
    files
}

fn file(stage: &StageHistory) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut last_ms = 0;
    let mut version = Message::default();
    let first = stage.steps.values().next().map_or(0, |step| step.time_ms);
    version.double(1, first as f64 / 1e3);
    version.bytes(3, b"brain.Event:2");
    frame(&version.0, &mut bytes);
    for (step, values) in &stage.steps {
        last_ms = values.time_ms;
        let scalars = Metric::ALL.into_iter().filter_map(|metric| {
            let value = values.get(metric)?;
            Some((metric.name(), value))
        });
        frame(&event(last_ms, *step, scalars), &mut bytes);
    }
    if let Some(ratio) = stage.perplexity_ratio {
        let scalar = [("eval_perplexity_ratio", ratio)];
        frame(&event(last_ms, stage.planned_steps, scalar), &mut bytes);
    }
    bytes
}

/// `Event { wall_time = 1, step = 2, summary = 5 { value = 1 { tag = 1, simple_value = 2 } } }`.
fn event<'a>(
    time_ms: u64,
    step: usize,
    scalars: impl IntoIterator<Item = (&'a str, f64)>,
) -> Vec<u8> {
    let mut summary = Message::default();
    for (tag, value) in scalars {
        let mut scalar = Message::default();
        scalar.bytes(1, tag.as_bytes());
        scalar.float(2, value as f32);
        summary.bytes(1, &scalar.0);
    }
    let mut event = Message::default();
    event.double(1, time_ms as f64 / 1e3);
    event.varint_field(2, step as u64);
    event.bytes(5, &summary.0);
    event.0
}

/// A protobuf message in the making.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn varint_field(&mut self, field: u64, value: u64) {
        self.varint(field << 3);
        self.varint(value);
    }

    fn double(&mut self, field: u64, value: f64) {
        self.varint(field << 3 | 1);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn float(&mut self, field: u64, value: f32) {
        self.varint(field << 3 | 5);
        self.0.extend(value.to_le_bytes());
    }
}

fn frame(message: &[u8], into: &mut Vec<u8>) {
    let length = (message.len() as u64).to_le_bytes();
    into.extend(length);
    into.extend(masked(&length).to_le_bytes());
    into.extend(message);
    into.extend(masked(message).to_le_bytes());
}

/// TFRecord's mask, so that a CRC of data with CRCs in it is no special case.
fn masked(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli), reflected.
fn crc32c(bytes: &[u8]) -> u32 {
    let of_bit = |crc: u32, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
    !bytes.iter().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(*byte), of_bit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_castagnolis() {
        // RFC 3720, appendix B.4, and the check value of the catalogue.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn messages_are_as_protobuf_writes_them() {
        // Written by Google's protobuf from the same values.
        let expected: &[u8] = &[
            0x09, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f, // wall_time = 1.5
            0x10, 0xac, 0x02, // step = 300
            0x2a, 0x0d, // summary
            0x0a, 0x0b, 0x0a, 0x04, b'l', b'o', b's', b's', 0x15, 0, 0, 0x80, 0x3e,
        ];
        assert_eq!(event(1500, 300, [("loss", 0.25)]), expected);
    }
}
