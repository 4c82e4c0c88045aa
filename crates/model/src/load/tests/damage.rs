//! Single bits of the files of a folder of ours: none that is changed is loaded, and the error names the file.
use super::checksums::CHECKSUMS_JSON;
use super::*;

const WEIGHTS: &str = "model.safetensors";

fn folder(dir: &Path) -> PathBuf {
    let folder = dir.join("model");
    let tokenizer = Tokenizer::train_bpe(["low lower"], 258, &["<|end|>"]).unwrap();
    let meta = CheckpointMeta::default();
    let model = hybrid(MixerKind::Mamba2, false);
    save(&model, Some(&tokenizer), &folder, &meta, SavePrecision::F32).unwrap();
    folder
}

/// Loads the folder with each of `bits` of a file flipped, and returns how many there were.
fn flip(
    folder: &Path,
    name: &str,
    bits: impl Fn(usize) -> Vec<usize>,
    load: impl Fn(&Path) -> Result<(), ModelError>,
) -> usize {
    let path = folder.join(name);
    let whole = fs::read(&path).unwrap();
    load(folder).unwrap();
    let bits = bits(8 * whole.len());
    for bit in &bits {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, flipped).unwrap();
        let error = load(folder).expect_err("every bit is covered").to_string();
        assert!(error.contains(name), "bit {bit} of {name}: {error}");
    }
    fs::write(&path, whole).unwrap();
    load(folder).unwrap();
    bits.len()
}

#[test]
fn no_flip_of_any_single_bit_of_a_model_folder_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let folder = folder(dir.path());
    let config = |folder: &Path| folder_config(folder).map(drop);
    let tokenizer = |folder: &Path| Tokenizer::load(folder).map(drop);
    let checked = |folder: &Path| checked_folder_sha256(folder).map(drop);
    let all = |folder: &Path| load::<Flex>(folder, &Default::default()).map(drop);
    let every = |count: usize| (0..count).collect::<Vec<_>>();
    let one_in = |step| move |count: usize| (0..count).step_by(step).collect::<Vec<_>>();
    let mut tries = 0;
    tries += flip(&folder, CONFIG_JSON, every, config);
    tries += flip(&folder, MAMBA_CONFIG_JSON, every, config);
    tries += flip(&folder, TOKENIZER_JSON, every, tokenizer);
    tries += flip(&folder, CHECKSUMS_JSON, every, config);
    for name in [
        CONFIG_JSON,
        MAMBA_CONFIG_JSON,
        TOKENIZER_JSON,
        CHECKSUMS_JSON,
    ] {
        tries += flip(&folder, name, one_in(97), checked);
        tries += flip(&folder, name, one_in(997), all);
    }
    tries += flip(&folder, WEIGHTS, one_in(1999), all);
    assert!(tries > 30_000, "{tries}");
}

#[test]
fn a_folder_that_has_lost_a_file_is_not_taken_for_another_kind_of_model() {
    for name in [MAMBA_CONFIG_JSON, TOKENIZER_JSON] {
        let dir = tempfile::tempdir().unwrap();
        let folder = folder(dir.path());
        fs::remove_file(folder.join(name)).unwrap();
        for error in [
            error(&folder),
            folder_config(&folder).unwrap_err().to_string(),
        ] {
            assert!(error.contains(name) && error.contains("missing"), "{error}");
        }
    }
}

#[test]
fn what_is_put_beside_the_files_of_ours_is_read_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let folder = folder(dir.path());
    let path = folder.join("tokenizer_config.json");
    fs::write(&path, r#"{"chat_template": "{{ messages[0].content }}"}"#).unwrap();
    crate::JinjaTemplate::load(&path).unwrap();
    load::<Flex>(&folder, &Default::default()).unwrap();
}
