//! A format: files that are whole, words that they are made of, and what reading any other bytes may do.
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use crate::allocator::most_held;
use crate::mutation::change;

/// Changed files of each format in a usual run.
const CASES: u32 = 1200;

/// Bytes that reading a file may hold, whatever it says.
#[derive(Clone, Copy)]
pub struct Bound {
    /// Times its length.
    pub times: usize,
    /// Beyond that.
    pub bytes: usize,
}

/// Files of one format.
pub struct Format<'a> {
    /// Folder of whole files in `tests/fixtures/parsers`.
    pub name: &'a str,
    /// Name that a changed file gets.
    pub file: &'a str,
    /// Pieces that files are made of.
    pub words: &'a [&'a str],
    /// What reading one may hold.
    pub bound: Bound,
}

/// Where the whole files are.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/parsers")
}

/// A folder to write to that stays, with the last file in it, when a process is ended by an allocation.
pub fn workplace(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("parsers")
        .join(format!("{name}-{}", first_round()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Number of the first round of changed files, `PARSER_ROUND` or 0: processes that read files of one format at once each get their own.
fn first_round() -> u64 {
    std::env::var("PARSER_ROUND").map_or(0, |text| text.parse().unwrap())
}

impl Format<'_> {
    /// Whole files, by name.
    fn corpus(&self) -> Vec<Vec<u8>> {
        let entries = std::fs::read_dir(fixtures().join(self.name)).unwrap();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        assert!(!paths.is_empty());
        paths
            .iter()
            .map(|path| std::fs::read(path).unwrap())
            .collect()
    }

    /// Reads every file of the corpus and many changed ones with `read`, which says whether there was anything in it; as many as take
    /// `PARSER_SECONDS` where that is set.
    pub fn check(&self, folder: &Path, read: impl Fn(&Path) -> bool) {
        let _alone = crate::alone();
        let path = folder.join(self.file);
        let most = std::cell::Cell::new(0usize);
        let one = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let (is_read, held) = most_held(|| read(&path));
            let allowed = self.bound.times * bytes.len() + self.bound.bytes;
            assert!(
                held <= allowed,
                "{held} bytes held for a file of {}",
                bytes.len()
            );
            most.set(most.get().max(held));
            is_read
        };
        let corpus = self.corpus();
        let whole = corpus.iter().filter(|bytes| one(bytes)).count();
        assert!(whole > 0, "no file of the corpus is read");
        let longest = std::env::var("PARSER_SECONDS").ok();
        let longest = longest.map(|text| Duration::from_secs(text.parse().unwrap()));
        let started = Instant::now();
        let strategy = (any::<usize>(), proptest::collection::vec(change(), 1..6));
        let mut cases = 0u64;
        let read_cases = std::cell::Cell::new(0u64);
        for round in first_round().. {
            let config = ProptestConfig {
                cases: CASES,
                failure_persistence: None,
                ..ProptestConfig::default()
            };
            let mut seed = [0; 32];
            seed[..8].copy_from_slice(&round.to_le_bytes());
            let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
            let run = TestRunner::new_with_rng(config, rng).run(&strategy, |(file, changes)| {
                let mut bytes = corpus[file % corpus.len()].clone();
                for change in &changes {
                    change.apply(&mut bytes, self.words);
                }
                read_cases.set(read_cases.get() + u64::from(one(&bytes)));
                Ok(())
            });
            if let Err(error) = run {
                panic!("{}: {error}\nthe file is `{}`", self.name, path.display());
            }
            cases += u64::from(CASES);
            if longest.is_none_or(|longest| started.elapsed() >= longest) {
                break;
            }
        }
        eprintln!(
            "{}: {cases} changed files in {:.0} s, {} of them read, at most {} KiB held",
            self.name,
            started.elapsed().as_secs_f64(),
            read_cases.get(),
            most.get() >> 10
        );
    }
}
