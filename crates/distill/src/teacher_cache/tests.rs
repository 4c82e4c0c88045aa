use std::path::PathBuf;

use burn::backend::Flex;
use half::f16;
use proptest::prelude::*;

use super::record::{encode, record_bytes};
use super::store::shard_path;
use super::*;
use crate::data::{Example, RowLength};
use crate::run::Event;
use crate::testing::{at_every_operation, chat_tokenizer, examples, no_flip, teacher};

/// Log-probabilities of logits.
fn log_softmax(logits: &[f32]) -> Vec<f32> {
    let sum: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
    let normalize = |logit: &f32| (f64::from(*logit) - sum.ln()) as f32;
    logits.iter().map(normalize).collect()
}

/// f16 keeps 11 bits.
fn is_near(found: f32, expected: f64) -> bool {
    (f64::from(found) - expected).abs() <= expected.abs() * 2f64.powi(-11) + 1e-6
}

proptest! {
    #[test]
    fn records_keep_what_a_sort_puts_first_and_the_mass_of_the_rest(
        logits in prop::collection::vec(-9f32..9.0, 2..40),
        shares in (0.0..1.0f64, 0.0..1.0f64),
    ) {
        let log_probs = log_softmax(&logits);
        let stored = 1 + (shares.0 * (logits.len() - 1) as f64) as usize;
        let k = 1 + (shares.1 * (stored - 1) as f64) as usize;
        let mut bytes = Vec::new();
        let truncation = encode(&log_probs, stored, true, &mut bytes);
        prop_assert_eq!(bytes.len(), record_bytes(stored));
        let mut records = Records::default();
        records.decode(&bytes, stored, k);
        let mut sorted: Vec<usize> = (0..logits.len()).collect();
        sorted.sort_by(|a, b| log_probs[*b].total_cmp(&log_probs[*a]));
        let ids: Vec<i32> = sorted[..k].iter().map(|id| *id as i32).collect();
        prop_assert_eq!(&records.ids, &ids);
        for (found, id) in records.log_probs.iter().zip(&sorted) {
            prop_assert!(is_near(*found, f64::from(log_probs[*id])));
        }
        let mass = |ids: &[usize]| -> f64 {
            ids.iter().map(|id| f64::from(log_probs[*id]).exp()).sum()
        };
        let rest = mass(&sorted[k..]);
        if rest > 0.0 {
            // Each of the terms that make it up is as near.
            let found = f64::from(records.log_residuals[0]).exp();
            prop_assert!((found / rest - 1.0).abs() < 0.02, "{} {}", found, rest);
        }
        prop_assert!((truncation.residual - mass(&sorted[stored..])).abs() < 1e-6);
        prop_assert!(truncation.kl > -0.01 && truncation.labels == 1);
    }
}

#[test]
fn a_truncation_costs_the_divergence_from_an_even_rest() {
    let probs = [0.5f64, 0.2, 0.2, 0.06, 0.04];
    let log_probs: Vec<f32> = probs.iter().map(|p| p.ln() as f32).collect();
    let found = encode(&log_probs, 3, true, &mut Vec::new());
    assert!((found.residual - 0.1).abs() < 1e-6);
    let expected = 0.06 * (0.06f64 / 0.05).ln() + 0.04 * (0.04f64 / 0.05).ln();
    assert!(
        (found.kl - expected).abs() < 2e-4,
        "{} {expected}",
        found.kl
    );
    // Nothing is left out, and no mass has a logarithm.
    let mut bytes = Vec::new();
    let found = encode(&log_probs, 5, true, &mut bytes);
    assert!(found.residual == 0.0 && found.kl.abs() < 2e-4);
    let last = [bytes[bytes.len() - 2], bytes[bytes.len() - 1]];
    assert_eq!(f16::from_le_bytes(last), f16::from_f32(-60.0));
}

struct Place {
    dir: tempfile::TempDir,
    teacher: Teacher<Flex>,
    examples: Vec<Example>,
}

impl Place {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            teacher: Teacher {
                model: teacher(),
                tokenizer: chat_tokenizer(),
                sha256: "teacher".into(),
            },
            examples: examples(10),
        }
    }

    fn shard(&self, index: usize) -> PathBuf {
        shard_path(self.dir.path(), index)
    }

    /// Makes the cache whole; four shards of up to three examples with six labels each. Returns it with the notes.
    fn whole(&self, stop: &StopFlag, stop_at: Option<&str>) -> (Option<TeacherCache>, Vec<String>) {
        struct Notes<'a>(Vec<String>, &'a StopFlag, Option<&'a str>);
        impl EventSink for Notes<'_> {
            fn emit(&mut self, event: Event) {
                let Event::Note { text } = event else {
                    panic!("{event:?}")
                };
                if self.2.is_some_and(|part| text.contains(part)) {
                    self.1.stop();
                }
                self.0.push(text);
            }
        }
        let mut notes = Notes(Vec::new(), stop, stop_at);
        let cache = self.try_whole(&mut notes, stop).unwrap();
        (cache, notes.0)
    }

    fn try_whole(
        &self,
        events: &mut dyn EventSink,
        stop: &StopFlag,
    ) -> anyhow::Result<Option<TeacherCache>> {
        let source = Source {
            teacher: &self.teacher,
            examples: &self.examples.clone().into(),
            k: 5,
            length: RowLength::UpTo(16),
            shard_labels: 18,
        };
        write::whole(&source, self.dir.path(), events, stop)
    }

    fn bytes(&self) -> Vec<Vec<u8>> {
        (0..4)
            .map(|index| std::fs::read(self.shard(index)).unwrap())
            .collect()
    }
}

#[test]
fn a_cache_has_the_labels_of_each_example() {
    let place = Place::new();
    let (cache, notes) = place.whole(&StopFlag::new(), None);
    assert_eq!(notes.len(), 4, "{notes:?}");
    let cache = cache.unwrap();
    for (index, example) in place.examples.iter().enumerate() {
        let ids: Vec<i64> = example.ids.iter().map(|id| i64::from(*id)).collect();
        let tokens = burn::tensor::TensorData::new(ids, [1, 12]);
        let tokens = burn::tensor::Tensor::from_data(tokens, &Default::default());
        let logits = place.teacher.model.forward(tokens).into_data();
        let logits: Vec<f32> = logits.iter::<f32>().collect();
        let records = cache.read(index, 5).unwrap();
        assert_eq!(records.log_residuals.len(), 6);
        for label in 0..6 {
            // The label at `t` is predicted at `t - 1`; labels begin at 6.
            let log_probs = log_softmax(&logits[(5 + label) * 32..][..32]);
            let mut best: Vec<usize> = (0..32).collect();
            best.sort_by(|a, b| log_probs[*b].total_cmp(&log_probs[*a]));
            for (rank, id) in best[..5].iter().enumerate() {
                let place = label * 5 + rank;
                let found = records.log_probs[place];
                assert!(
                    is_near(found, f64::from(log_probs[*id])),
                    "{index} {label} {rank}"
                );
                assert!(is_near(
                    found,
                    f64::from(log_probs[records.ids[place] as usize])
                ));
            }
        }
    }
    let manifest = manifest::Manifest::read(place.dir.path()).unwrap().unwrap();
    // One in sixteen of a shard: two of eighteen labels, one of the last six.
    assert_eq!(manifest.truncation().labels, 3 * 2 + 1);
    let (again, notes) = place.whole(&StopFlag::new(), None);
    assert!(again.is_some() && notes.is_empty(), "{notes:?}");
}

#[test]
fn what_is_damaged_is_written_again_and_nothing_else() {
    let place = Place::new();
    place.whole(&StopFlag::new(), None);
    let expected = place.bytes();
    let mut flipped = expected[1].clone();
    flipped[40] ^= 1;
    std::fs::write(place.shard(1), flipped).unwrap();
    std::fs::write(place.shard(2), &expected[2][..10]).unwrap();
    std::fs::remove_file(place.shard(3)).unwrap();
    let (cache, notes) = place.whole(&StopFlag::new(), None);
    assert!(cache.is_some());
    let damaged = notes
        .iter()
        .filter(|note| note.contains("not as it was written"));
    assert_eq!((damaged.count(), notes.len()), (3, 6), "{notes:?}");
    assert!(place.bytes() == expected);
}

#[test]
fn a_stopped_cache_goes_on_with_the_shard_that_it_was_at() {
    let whole = Place::new();
    whole.whole(&StopFlag::new(), None);
    let place = Place::new();
    let (cache, notes) = place.whole(&StopFlag::new(), Some("examples 7 to 9"));
    assert!(cache.is_none());
    assert_eq!(notes.len(), 3, "{notes:?}");
    assert!(!place.shard(2).exists());
    let (cache, notes) = place.whole(&StopFlag::new(), None);
    assert!(cache.is_some());
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(place.bytes() == whole.bytes());
}

#[test]
fn a_cache_of_other_data_is_not_used() {
    let mut place = Place::new();
    place.whole(&StopFlag::new(), None);
    let before = place.bytes();
    place.examples[0].ids[3] += 1;
    let (_, notes) = place.whole(&StopFlag::new(), None);
    assert!(
        notes[0].contains("of another teacher or other data"),
        "{notes:?}"
    );
    assert_eq!(notes.len(), 1 + 4);
    let after = place.bytes();
    assert!(before[0] != after[0] && before[1..] == after[1..]);
}

#[test]
fn no_flip_of_any_single_bit_of_the_manifest_is_loaded() {
    let place = Place::new();
    place.whole(&StopFlag::new(), None);
    let read = |folder: &Path| {
        let manifest = manifest::Manifest::read(folder);
        manifest.map(drop).map_err(|error| error.to_string())
    };
    no_flip(place.dir.path(), "manifest.json", 8_000, read);
}

/// Whatever fails: the shards before it are kept, and the next try writes the others.
#[test]
fn a_disk_that_fails_leaves_whole_shards_alone() {
    let reference = Place::new();
    reference.whole(&StopFlag::new(), None);
    let expected = reference.bytes();
    let place = std::cell::RefCell::new(Place::new());
    let work = || {
        *place.borrow_mut() = Place::new();
        place
            .borrow()
            .try_whole(&mut Vec::<Event>::new(), &StopFlag::new())
    };
    // A shard or the manifest, by its whole path.
    at_every_operation("`/", 32, work, |cache| {
        let place = place.borrow();
        let names = std::fs::read_dir(place.dir.path()).unwrap();
        for name in names.map(|entry| entry.unwrap().file_name().into_string().unwrap()) {
            assert!(!name.ends_with(".part"), "{name} is half written");
        }
        for (index, expected) in expected.iter().enumerate() {
            if let Ok(found) = std::fs::read(place.shard(index)) {
                assert!(found == *expected, "shard {index}");
            }
        }
        let listed = manifest::Manifest::read(place.dir.path()).unwrap();
        let listed = listed.map_or(0, |manifest| manifest.shards.len());
        assert!(cache.is_none() || listed == 4);
        // Each that is listed is not asked for again.
        let (_, notes) = place.whole(&StopFlag::new(), None);
        assert_eq!(notes.len(), 4 - listed, "{notes:?}");
        assert!(place.bytes() == expected);
    });
}
