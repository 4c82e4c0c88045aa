//! Headers that claim what is not there, in files that are as long as they say: nothing is allocated for a claim.
use std::fs::File;
use std::io::Write;
use std::path::Path;

use burn::backend::Flex;

use crate::allocator::most_held;
use crate::format::{fixtures, workplace};

const LENGTH: u64 = 100 << 20;

/// A file of 100 MiB that begins with `bytes`; the rest is a hole.
fn sparse(path: &Path, bytes: &[u8]) {
    let mut file = File::create(path).unwrap();
    file.write_all(bytes).unwrap();
    file.set_len(LENGTH).unwrap();
}

/// Loads a model that cannot be loaded: the error, and the bytes held meanwhile.
fn refused(path: &Path) -> (String, usize) {
    let (loaded, held) = most_held(|| model::load::<Flex>(path, &Default::default()));
    (loaded.unwrap_err().to_string(), held)
}

/// The header of a GGUF file with one metadata entry and no tensor; `value` is its type and content.
fn gguf(value: &[u8]) -> Vec<u8> {
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    for number in [0u64, 1, 1] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.push(b'k');
    bytes.extend(value);
    bytes
}

#[test]
fn a_gguf_array_of_100_mib_is_not_held_many_times_over() {
    let _alone = crate::alone();
    let path = workplace("claims-gguf").join("model.gguf");
    // Truth values, numbers, empty strings, empty arrays of bytes: one, four, eight and twelve bytes each.
    for (element, size) in [(7u32, 1u64), (4, 4), (8, 8), (9, 12)] {
        let count = (LENGTH - 60) / size;
        let mut value = 9u32.to_le_bytes().to_vec();
        value.extend(element.to_le_bytes());
        value.extend(count.to_le_bytes());
        sparse(&path, &gguf(&value));
        let (error, held) = refused(&path);
        assert!(
            held as u64 <= 2 * LENGTH + (1 << 20),
            "{element}: {held} bytes held"
        );
        assert!(error.contains("model.gguf"), "{error}");
    }
}

#[test]
fn a_safetensors_header_of_100_mb_is_not_held_many_times_over() {
    let _alone = crate::alone();
    let folder = workplace("claims-safetensors");
    std::fs::copy(
        fixtures().join("config/hybrid.json"),
        folder.join("config.json"),
    )
    .unwrap();
    let path = folder.join("model.safetensors");
    for json in [
        "",
        "{\"a\":[",
        "[",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[9223372036854775808,2],\"data_offsets\":[0,8]}}",
    ] {
        for (header, fill) in [
            (99_000_000u64, &b"0,"[..]),
            (u64::MAX, b"  "),
            (1 << 40, b"  "),
            (99_000_000, b"[]"),
        ] {
            let mut bytes = header.to_le_bytes().to_vec();
            bytes.extend(json.as_bytes());
            bytes.extend(fill.repeat((LENGTH as usize - bytes.len()) / 2));
            std::fs::write(&path, &bytes).unwrap();
            drop(bytes);
            let (error, held) = refused(&folder);
            assert!(
                held as u64 <= 2 * LENGTH + (1 << 20),
                "{json}: {held} bytes held"
            );
            assert!(error.contains("model.safetensors"), "{error}");
        }
    }
}

#[test]
fn a_long_configuration_is_refused_before_it_is_read() {
    let _alone = crate::alone();
    let folder = workplace("claims-config");
    for name in [
        "config.json",
        "mamba_config.json",
        "model.safetensors.index.json",
        "tokenizer_config.json",
    ] {
        std::fs::copy(
            fixtures().join("config/hybrid.json"),
            folder.join("config.json"),
        )
        .unwrap();
        let path = folder.join(name);
        sparse(&path, b"[");
        let (error, held) = match name {
            "tokenizer_config.json" => {
                let (loaded, held) = most_held(|| model::JinjaTemplate::load(&path));
                (loaded.unwrap_err().to_string(), held)
            }
            _ => refused(&folder),
        };
        assert!(held <= 1 << 20, "{name}: {held} bytes held");
        assert!(
            error.contains(name) && error.contains("104857600"),
            "{error}"
        );
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_million_layers_that_are_not_there_take_no_memory() {
    let _alone = crate::alone();
    let folder = workplace("claims-layers");
    for (name, from) in [
        ("config.json", "config/hybrid.json"),
        ("model.safetensors", "weights/hybrid.safetensors"),
    ] {
        std::fs::copy(fixtures().join(from), folder.join(name)).unwrap();
    }
    let path = folder.join("config.json");
    let config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for field in [
        "num_hidden_layers",
        "hidden_size",
        "intermediate_size",
        "vocab_size",
        "max_position_embeddings",
    ] {
        let mut claim = config.clone();
        claim[field] = (1 << 24).into();
        std::fs::write(&path, claim.to_string()).unwrap();
        let (_, held) = most_held(|| model::load::<Flex>(&folder, &Default::default()));
        assert!(held <= 1 << 20, "{field}: {held} bytes held");
    }
}

#[test]
fn tensors_of_a_gguf_file_share_no_bytes() {
    let _alone = crate::alone();
    let path = workplace("claims-overlap").join("model.gguf");
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    for number in [2u64, 0] {
        bytes.extend(number.to_le_bytes());
    }
    for (name, offset) in [(b'a', 0u64), (b'b', 32)] {
        bytes.extend(1u64.to_le_bytes());
        bytes.push(name);
        // One dimension of sixteen numbers in f32: 64 bytes.
        bytes.extend(1u32.to_le_bytes());
        bytes.extend(16u64.to_le_bytes());
        bytes.extend(0u32.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
    }
    bytes.resize(bytes.len().next_multiple_of(32) + 128, 0);
    std::fs::write(&path, bytes).unwrap();
    let (error, _) = refused(&path);
    assert!(
        error.contains("tensor `b`: found bytes of tensor `a`"),
        "{error}"
    );
}

#[cfg(unix)]
#[test]
fn no_shard_is_read_outside_the_folder_but_in_the_hubs_cache() {
    use std::os::unix::fs::symlink;
    let _alone = crate::alone();
    let place = workplace("claims-links");
    let folder = place.join("snapshots/main");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::create_dir(place.join("blobs")).unwrap();
    std::fs::create_dir(place.join("elsewhere")).unwrap();
    for (from, to) in [
        ("config/hybrid.json", "snapshots/main/config.json"),
        ("mamba-config/ours.json", "snapshots/main/mamba_config.json"),
        ("weights/hybrid.safetensors", "blobs/0123"),
        ("weights/hybrid.safetensors", "elsewhere/a.safetensors"),
    ] {
        std::fs::copy(fixtures().join(from), place.join(to)).unwrap();
    }
    let shard = folder.join("a.safetensors");
    let index = |name: &str| {
        let json = serde_json::json!({ "weight_map": { "model.norm.weight": name } });
        std::fs::write(
            folder.join("model.safetensors.index.json"),
            json.to_string(),
        )
        .unwrap();
    };
    index("a.safetensors");
    symlink("../../blobs/0123", &shard).unwrap();
    model::load::<Flex>(&folder, &Default::default()).unwrap();
    std::fs::remove_file(&shard).unwrap();
    symlink("../../elsewhere/a.safetensors", &shard).unwrap();
    let (error, _) = refused(&folder);
    assert!(
        error.contains("a.safetensors") && error.contains("out of its folder"),
        "{error}"
    );
    let absolute = place.join("elsewhere/a.safetensors");
    for name in [
        "../../elsewhere/a.safetensors",
        absolute.to_str().unwrap(),
        "..",
        "",
        "b/../a.safetensors",
    ] {
        index(name);
        let (error, _) = refused(&folder);
        assert!(
            error.contains("not a file of this folder"),
            "{name}: {error}"
        );
    }
}
