use std::path::{Path, PathBuf};

use model::ChatTemplate;
use proptest::prelude::*;

use super::shard::Layout;
use super::*;
use crate::data::Example;
use crate::testing::{at_every_operation, chat_tokenizer, no_flip};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/prepared")
        .join(name)
}

fn source(kind: Kind, name: &str) -> Source {
    Source {
        kind,
        path: fixture(name),
    }
}

fn make(sources: &[Source], folder: &Path, skip_bad: bool) -> anyhow::Result<Prepared> {
    let template = ChatTemplate::chat_ml();
    let named = (&template, "chat-ml");
    prepare(sources, &chat_tokenizer(), named, folder, skip_bad)
}

/// A folder of all sound fixtures and a file of text.
fn sound(dir: &Path) -> (PathBuf, Prepared) {
    let text = dir.join("text.txt");
    std::fs::write(&text, "one two three words").unwrap();
    let sources = [
        source(Kind::Chat, "chat.jsonl"),
        source(Kind::Chat, "alpaca.json"),
        source(Kind::Preferences, "pairs.jsonl"),
        Source {
            kind: Kind::Text,
            path: text,
        },
    ];
    let folder = dir.join("prepared");
    let prepared = make(&sources, &folder, false).unwrap();
    (folder, prepared)
}

/// What the model is trained to say in a document.
fn said(document: &Example) -> String {
    let targets = document.ids.iter().zip(&document.targets);
    let said: Vec<u32> = targets
        .filter_map(|(id, target)| target.then_some(*id))
        .collect();
    chat_tokenizer().decode(&said)
}

fn golden_documents() -> Vec<Example> {
    vec![
        Example {
            ids: vec![1, 70000, 3],
            targets: vec![false, true, true],
        },
        Example {
            ids: vec![u32::MAX, 0],
            targets: vec![false, true],
        },
    ]
}

/// Documents in the bytes of a shard.
fn decode(
    path: &Path,
    bytes: &[u8],
    kind: Kind,
    fingerprint: &str,
) -> Result<Vec<Example>, crate::error::DistillError> {
    let layout = Layout::check(path, bytes, kind, fingerprint)?;
    let documents = 0..layout.documents();
    let document = |at| layout.example(bytes, layout.document(bytes, at));
    Ok(documents.map(document).collect())
}

/// Documents of a folder by shard.
fn read(folder: &Path) -> anyhow::Result<Vec<(Kind, Vec<Example>)>> {
    let mut shards = Vec::new();
    for (kind, shard) in open(folder, &chat_tokenizer())? {
        let documents = (0..shard.documents()).map(|at| shard.example(shard.document(at)));
        shards.push((kind, documents.collect::<Result<_, _>>()?));
    }
    Ok(shards)
}

#[test]
fn a_shard_is_the_bytes_that_another_program_writes() {
    let fingerprint: [u8; 32] = std::array::from_fn(|i| i as u8);
    let mut short = golden_documents();
    for document in &mut short {
        document.ids.iter_mut().for_each(|id| *id &= 0xffff);
    }
    let path = Path::new("golden-short.shard");
    let golden = std::fs::read(fixture("golden-short.shard")).unwrap();
    assert_eq!(shard::encode(Kind::Text, &fingerprint, &short), golden);
    assert_eq!(
        decode(path, &golden, Kind::Text, &hex(&fingerprint)).unwrap(),
        short
    );

    let path = Path::new("golden.shard");
    let golden = std::fs::read(fixture("golden.shard")).unwrap();
    let ours = shard::encode(Kind::Chat, &fingerprint, &golden_documents());
    assert_eq!(ours, golden);
    assert_eq!(
        decode(path, &golden, Kind::Chat, &hex(&fingerprint)).unwrap(),
        golden_documents()
    );
}

#[test]
fn no_flip_of_any_single_bit_of_a_shard_is_loaded() {
    let fingerprint: [u8; 32] = std::array::from_fn(|i| i as u8);
    for (name, kind) in [
        ("golden-short.shard", Kind::Text),
        ("golden.shard", Kind::Chat),
    ] {
        let whole = std::fs::read(fixture(name)).unwrap();
        for bit in 0..8 * whole.len() {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let found = decode(Path::new(name), &flipped, kind, &hex(&fingerprint));
            let error = found
                .expect_err("every byte is under the checksum")
                .to_string();
            assert!(error.contains(name), "bit {bit}: {error}");
        }
    }
}

#[test]
fn no_flip_of_any_single_bit_of_the_manifest_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, _) = sound(dir.path());
    let error = |folder: &Path| {
        Manifest::read(folder)
            .map(drop)
            .map_err(|error| error.to_string())
    };
    no_flip(&folder, "manifest.json", 10_000, error);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn shards_survive_the_round_trip(
        documents in proptest::collection::vec(
            proptest::collection::vec((any::<u32>(), any::<bool>()), 0..40),
            0..12,
        ),
        is_short: bool,
    ) {
        let documents: Vec<Example> = documents
            .into_iter()
            .map(|tokens| {
                let (mut ids, targets): (Vec<u32>, _) = tokens.into_iter().unzip();
                if is_short {
                    ids.iter_mut().for_each(|id| *id &= 0xffff);
                }
                Example { ids, targets }
            })
            .collect();
        let bytes = shard::encode(Kind::Text, &[7; 32], &documents);
        let read = decode(Path::new("s"), &bytes, Kind::Text, &hex(&[7; 32])).unwrap();
        prop_assert_eq!(&read, &documents);
        // The same from a file that is mapped.
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.shard");
        std::fs::write(&path, &bytes).unwrap();
        let shard = Shard::open(&path, Kind::Text, &hex(&[7; 32])).unwrap();
        let mapped = (0..shard.documents()).map(|at| shard.example(shard.document(at)).unwrap());
        prop_assert_eq!(mapped.collect::<Vec<_>>(), documents);
    }

    #[test]
    fn a_changed_or_cut_shard_is_never_read(at in 0_usize..141, bit in 0_u32..8) {
        let mut bytes = std::fs::read(fixture("golden.shard")).unwrap();
        let fingerprint: Vec<u8> = (0..32).collect();
        let decode = |bytes: &[u8]| {
            decode(Path::new("s.shard"), bytes, Kind::Chat, &hex(&fingerprint))
        };
        let error = decode(&bytes[..at]).unwrap_err().to_string();
        prop_assert!(error.starts_with("`s.shard`: "), "{}", error);
        bytes[at] ^= 1 << bit;
        prop_assert!(decode(&bytes).is_err());
    }
}

#[test]
fn documents_come_back_with_their_replies_as_targets() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, prepared) = sound(dir.path());
    let shards = read(&folder).unwrap();
    let kinds: Vec<Kind> = shards.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [Kind::Chat, Kind::Preferences, Kind::Text]);
    let all: Vec<Vec<String>> = shards
        .iter()
        .map(|(_, documents)| documents.iter().map(said).collect())
        .collect();
    let end = "<|im_end|>";
    assert_eq!(
        all[0],
        [
            format!("Hello.{end}See you.{end}"),
            format!("Two.{end}"),
            format!("Four.{end}"),
            format!("Five.{end}"),
            format!("3{end}"),
            format!("Python.{end}"),
        ]
    );
    assert_eq!(all[2], ["one two three words"]);
    let pairs = ["Good.", "Bad.", "Yes.", "No.", "Right.", "Wrong."];
    assert_eq!(all[1], pairs.map(|reply| format!("{reply}{end}")));
    assert_eq!(
        chat_tokenizer().decode(&shards[0].1[4].ids),
        format!("<|im_start|>user\nAdd\n\n1 2{end}\n<|im_start|>assistant\n3{end}\n")
    );
    let counts: Vec<_> = prepared
        .manifest
        .inputs
        .iter()
        .map(|input| (input.rows, input.bad, input.repeated))
        .collect();
    assert_eq!(counts, [(5, 0, 1), (2, 0, 0), (3, 0, 0), (1, 0, 0)]);
    assert_eq!((prepared.repeats.rows, prepared.repeats.prompts), (1, 1));
}

#[test]
fn a_shard_that_changes_while_it_is_in_use_is_one_error() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, prepared) = sound(dir.path());
    let path = folder.join(&prepared.manifest.shards[0].file);
    let bytes = std::fs::read(&path).unwrap();
    let change = |change: &dyn Fn(&Path)| {
        std::fs::write(&path, &bytes).unwrap();
        let (_, shard) = open(&folder, &chat_tokenizer()).unwrap().remove(0);
        assert!(shard.example(shard.document(0)).is_ok());
        change(&path);
        shard.example(shard.document(0)).unwrap_err().to_string()
    };
    let cut = |path: &Path| {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_len(70).unwrap();
    };
    let touched = |path: &Path| {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH)
            .unwrap();
    };
    for error in [change(&cut), change(&touched)] {
        assert!(
            error.contains("00000-chat.shard`: a file that was changed while it was in use"),
            "{error}"
        );
    }
}

#[test]
fn bad_rows_are_named_by_number_and_counted_when_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("prepared");
    let sources = [source(Kind::Chat, "bad.jsonl")];
    let error = make(&sources, &folder, false).unwrap_err().to_string();
    assert!(
        error.contains("bad.jsonl`: row 2: expected `messages`")
            && error.ends_with("; 3 more rows are bad"),
        "{error}"
    );
    let left = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, 0, "nothing is written");
    let prepared = make(&sources, &folder, true).unwrap();
    let input = &prepared.manifest.inputs[0];
    assert_eq!((input.rows, input.bad, input.repeated), (6, 4, 0));
    let reasons = [
        "row 2: expected `messages`",
        "row 4: role `robot`",
        "row 5: there is no assistant turn",
        "row 6: not JSON",
    ];
    assert_eq!(prepared.bad_rows.len(), 4);
    for (found, reason) in prepared.bad_rows.iter().zip(reasons) {
        assert!(found.contains(reason), "{found}: {reason}");
    }
    let shards = read(&folder).unwrap();
    assert_eq!(shards[0].1.len(), 2);
}

#[test]
fn another_tokenizer_a_swapped_shard_and_an_unfinished_folder_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, prepared) = sound(dir.path());
    let other = model::Tokenizer::train_bpe(["other"], 262, &["<|im_end|>"]).unwrap();
    let error = open(&folder, &other).unwrap_err().to_string();
    assert!(error.contains("the teacher's"), "{error}");

    let error = make(&[source(Kind::Chat, "chat.jsonl")], &folder, false).unwrap_err();
    assert!(error.to_string().contains("exists already"), "{error}");

    let elsewhere = dir.path().join("elsewhere");
    make(&[source(Kind::Chat, "alpaca.json")], &elsewhere, false).unwrap();
    let shard = &prepared.manifest.shards[0].file;
    std::fs::copy(elsewhere.join(shard), folder.join(shard)).unwrap();
    let error = read(&folder).unwrap_err().to_string();
    assert!(error.contains("a shard of other data"), "{error}");

    std::fs::remove_file(folder.join("manifest.json")).unwrap();
    let error = read(&folder).unwrap_err().to_string();
    assert!(error.contains("manifest.json"), "{error}");
}

#[test]
fn a_disk_that_fails_leaves_no_folder_and_the_next_try_makes_it() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("prepared");
    let sources = [
        source(Kind::Chat, "chat.jsonl"),
        source(Kind::Preferences, "pairs.jsonl"),
    ];
    let work = || make(&sources, &folder, false);
    at_every_operation("prepared", 12, work, |prepared| {
        match prepared {
            Some(_) => {
                read(&folder).unwrap();
                std::fs::remove_dir_all(&folder).unwrap();
            }
            None => assert!(!folder.exists()),
        }
        let left = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left, 0, "nothing half written");
    });
}
