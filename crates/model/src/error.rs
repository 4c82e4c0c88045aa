//! What can go wrong in this crate.

use std::path::PathBuf;

/// Writes the tensors of the files after the first argument to the first, unshared and without running what they contain.
const PICKLE_TO_SAFETENSORS: &str = "import sys,torch;from safetensors.torch import save_file;t={};\
[t.update(torch.load(f,map_location='cpu',weights_only=True)) for f in sys.argv[2:]];\
save_file({k:v.clone().contiguous() for k,v in t.items()},sys.argv[1],{'format':'pt'})";

/// An error of the `model` crate: the thing, what was found, what was expected, the cure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file could not be read.
    #[error("`{}`", path.display())]
    Io {
        /// The file
        path: PathBuf,
        /// What the system said
        source: std::io::Error,
    },
    /// A file or folder could not be written.
    #[error(transparent)]
    File(#[from] crate::files::FileError),
    /// A file ends before what it announces.
    #[error(
        "`{}` is cut short: {field} needs {needed} bytes of file, it has {found} (fetch it again)",
        path.display()
    )]
    Truncated {
        /// The file
        path: PathBuf,
        /// The field or tensor that does not fit
        field: String,
        /// Bytes the file would need to have, at least
        needed: u64,
        /// Bytes it has
        found: u64,
    },
    /// A GGUF file says something impossible or unsupported.
    #[error("`{}`: {field}: found {found}, expected {expected}", path.display())]
    Gguf {
        /// The file
        path: PathBuf,
        /// Metadata key, tensor or part of the header
        field: String,
        /// What it says
        found: String,
        /// What it could say
        expected: String,
    },
    /// A tokenizer cannot be used.
    #[error("tokenizer `{name}`: {problem}")]
    Tokenizer {
        /// File or other origin
        name: String,
        /// What is wrong with it, and the cure
        problem: String,
    },
    /// A chat template needs a token that the tokenizer does not have.
    #[error(
        "the {template} template needs the special token `{token}`, which the tokenizer lacks \
         (choose the template the model was trained with)"
    )]
    MissingToken {
        /// The token
        token: &'static str,
        /// The template
        template: &'static str,
    },
    /// A chat template of a `tokenizer_config.json` cannot be used, or not for a conversation.
    #[error("chat template of `{}`: {problem}", path.display())]
    ChatTemplate {
        /// The file
        path: PathBuf,
        /// What is wrong, and the cure
        problem: String,
    },
    /// A prompt cannot be answered.
    #[error("prompt {index}: {problem}")]
    Prompt {
        /// Index in the batch
        index: usize,
        /// What is wrong with it
        problem: String,
    },
    /// A drafter speaks other tokens than the verifier.
    #[error(
        "the drafter's vocabulary has {found} tokens, expected {expected} as the model's has (take a drafter made from \
         the same model)"
    )]
    Drafter {
        /// Tokens of the drafter
        found: usize,
        /// Tokens of the verifier
        expected: usize,
    },
    /// The documents of a packed batch are described wrongly.
    #[error("documents of row {row}: {problem}")]
    Documents {
        /// Row of the batch
        row: usize,
        /// What is wrong with it
        problem: String,
    },
    /// A configuration says something impossible or unsupported.
    #[error("{origin}: `{field}` is {found}, expected {expected}")]
    Config {
        /// File or object the value was read from
        origin: String,
        /// Name of the field
        field: String,
        /// What it says
        found: String,
        /// What it could say, and the cure
        expected: String,
    },
    /// A file is not what its name says, or is damaged.
    #[error("`{}`: {field}: {problem} ({cure})", path.display())]
    Malformed {
        /// The file
        path: PathBuf,
        /// Part of the file that is wrong
        field: String,
        /// What is wrong with it
        problem: String,
        /// What to do about it
        cure: &'static str,
    },
    /// A file of a model folder of ours whose bytes are not those that were written.
    #[error(
        "`{}`: sha256 is {found}, it was written with {expected} (bring it back from a copy; in a run, move its folder away and \
         resume; where the change is meant, delete `serpentine-checksums.json` beside it)",
        path.display()
    )]
    Checksum {
        /// The file
        path: PathBuf,
        /// Hash of the bytes found
        found: String,
        /// Hash of the bytes that were written
        expected: String,
    },
    /// Weights in PyTorch's own format, which is a program as much as data.
    #[error(
        "`{}` is pickled, and reading such files can run what they contain: convert it where you trust it, with \
         `python3 -c \"{PICKLE_TO_SAFETENSORS}\" '{}' '{}'`",
        path.display(), target.display(), sources.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join("' '")
    )]
    Pickled {
        /// The file
        path: PathBuf,
        /// Safetensors file that the command writes
        target: PathBuf,
        /// Files that the command reads
        sources: Vec<PathBuf>,
    },
    /// A tensor has a shape that the configuration does not allow.
    #[error(
        "tensor `{key}` has shape {found:?}, the configuration asks for {expected:?} (take \
         configuration and weights from the same model)"
    )]
    Shape {
        /// Hugging Face key
        key: String,
        /// Shape found
        found: Vec<usize>,
        /// Shape by the configuration
        expected: Vec<usize>,
    },
    /// The set of tensors is not the one that the configuration asks for.
    #[error(
        "the tensors do not fit the configuration: {}{}{} (take configuration and weights from \
         the same model)",
        list("missing", missing),
        list("unknown", unknown),
        list("given twice", duplicate)
    )]
    Keys {
        /// Keys the configuration asks for and nobody gave
        missing: Vec<String>,
        /// Keys given that the configuration has no place for
        unknown: Vec<String>,
        /// Keys given more than once
        duplicate: Vec<String>,
    },
    /// An attention ratio that halving cannot reach with this many layers.
    #[error(
        "attention ratio {ratio} is out of reach with {n_layers} layers: the ratios are {}",
        ratios(reachable)
    )]
    UnreachableRatio {
        /// Ratio asked for
        ratio: f64,
        /// Layers of the model
        n_layers: usize,
        /// Ratios that can be asked for, highest first
        reachable: Vec<f64>,
    },
    /// A list of layers, from the most needed to the least, that does not name those that are to keep attention.
    #[error(
        "the order of layers is {order:?}, expected at least {count} of the layers 0 to {}, each once", n_layers - 1
    )]
    LayerOrder {
        /// Layers as listed
        order: Vec<usize>,
        /// Layers that keep attention
        count: usize,
        /// Layers of the model
        n_layers: usize,
    },
    /// A conversion that cannot be done.
    #[error("cannot convert: {thing} is {found}, expected {expected}")]
    Convert {
        /// Plan, mixer or other part of the request
        thing: &'static str,
        /// What was asked
        found: String,
        /// What can be asked, and the cure
        expected: String,
    },
}

/// ` NAME: a, b, c and 3 more;`, or nothing when there is nothing to list.
fn list(name: &str, keys: &[String]) -> String {
    const SHOWN: usize = 8;
    if keys.is_empty() {
        return String::new();
    }
    let mut text = format!("{name}: `{}`", keys[..keys.len().min(SHOWN)].join("`, `"));
    if keys.len() > SHOWN {
        text.push_str(&format!(" and {} more", keys.len() - SHOWN));
    }
    text.push_str("; ");
    text
}

fn ratios(reachable: &[f64]) -> String {
    let texts: Vec<String> = reachable.iter().map(|ratio| format!("{ratio}")).collect();
    texts.join(", ")
}

impl ModelError {
    /// Wraps a failure of the system with the path it concerns.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    pub(crate) fn config(
        origin: &str,
        field: impl Into<String>,
        found: impl ToString,
        expected: impl Into<String>,
    ) -> Self {
        Self::Config {
            origin: origin.to_string(),
            field: field.into(),
            found: found.to_string(),
            expected: expected.into(),
        }
    }
}
