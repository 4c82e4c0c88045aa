//! Who drafts in speculative decoding, and how much.
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::number::positive;

/// Who guesses tokens in speculative decoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DrafterArg {
    /// Prompt look-up
    Ngram,
    /// This many layers of the model itself, or half of them
    Layers(Option<usize>),
    /// Another model
    Model(PathBuf),
    /// Prompt look-up, and another drafter where it finds nothing
    LookUpFirst(Box<DrafterArg>),
}

impl FromStr for DrafterArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(other) = text.strip_prefix("ngram+") {
            return match other.parse()? {
                Self::Layers(layers) => Ok(Self::LookUpFirst(Self::Layers(layers).into())),
                Self::Model(path) => Ok(Self::LookUpFirst(Self::Model(path).into())),
                _ => Err("expected a model, `self` or `self:LAYERS` after `ngram+`".into()),
            };
        }
        match (text, text.strip_prefix("self:")) {
            ("ngram", _) => Ok(Self::Ngram),
            ("self", _) => Ok(Self::Layers(None)),
            (_, Some(layers)) => Ok(Self::Layers(Some(positive(layers)?))),
            _ => Ok(Self::Model(text.into())),
        }
    }
}

impl fmt::Display for DrafterArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ngram => f.write_str("ngram"),
            Self::Layers(None) => f.write_str("self"),
            Self::Layers(Some(layers)) => write!(f, "self:{layers}"),
            Self::Model(path) => write!(f, "{}", path.display()),
            Self::LookUpFirst(other) => write!(f, "ngram+{other}"),
        }
    }
}

/// Tokens drafted at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DraftTokensArg {
    /// By measurement
    Auto,
    /// Always as many
    Fixed(usize),
}

impl FromStr for DraftTokensArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            _ if text == "auto" => Ok(Self::Auto),
            Ok(number) if (1..=64).contains(&number) => Ok(Self::Fixed(number)),
            _ => Err("expected `auto` or a whole number from 1 to 64".into()),
        }
    }
}

impl fmt::Display for DraftTokensArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Fixed(count) => write!(f, "{count}"),
        }
    }
}
