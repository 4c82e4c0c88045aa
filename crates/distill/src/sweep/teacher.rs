//! The teacher of a sweep: from a path, or from this binary.
use anyhow::Context;
use kernels::SsmBackend;
use model::{HybridModel, Tokenizer};

use crate::builtin;
use crate::recipe::{Precision, TeacherSource};

/// A teacher with everything a sweep needs of it.
#[derive(Debug, Clone)]
pub struct Teacher<B: SsmBackend> {
    /// The model, all attention.
    pub model: HybridModel<B>,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Hash of its weights.
    pub sha256: String,
}

impl<B: SsmBackend> Teacher<B> {
    /// Loads the teacher.
    ///
    /// # Errors
    /// If the files cannot be read or are not a model, come without a tokenizer, or with one of more tokens than the model has.
    pub fn load(source: &TeacherSource, device: &B::Device) -> anyhow::Result<Self> {
        let name = teacher_name(source);
        let loaded = match source {
            TeacherSource::Builtin(_) => builtin::load(device)?,
            TeacherSource::Path(path) => {
                builtin::load_path(path, device).with_context(|| format!("teacher `{name}`"))?
            }
        };
        let tokenizer = loaded.tokenizer.with_context(|| {
            format!(
                "teacher `{name}` has no tokenizer (put its `tokenizer.json` beside the weights)"
            )
        })?;
        let (tokens, rows) = (
            tokenizer.vocab_size(),
            loaded.model.config().llama.vocab_size,
        );
        anyhow::ensure!(
            tokens <= rows,
            "teacher `{name}`: its tokenizer has {tokens} tokens, its embedding {rows} (put the `tokenizer.json` of the same \
             model beside the weights)"
        );
        Ok(Self {
            model: loaded.model,
            tokenizer,
            sha256: loaded.sha256,
        })
    }

    /// The same teacher, computing in `precision`; so do the students made of it.
    pub fn computing_in(mut self, precision: Precision) -> Self {
        self.model = self.model.computing_in(precision.compute());
        self
    }
}

/// The teacher as the recipe calls it.
pub fn teacher_name(source: &TeacherSource) -> String {
    match source {
        TeacherSource::Builtin(name) => format!("builtin:{name}"),
        TeacherSource::Path(path) => path.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;
    use model::load::{CheckpointMeta, SavePrecision};

    use super::*;
    use crate::testing::{chat_tokenizer, teacher};

    #[test]
    fn a_tokenizer_of_more_tokens_than_the_model_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("model");
        let (meta, tokenizer) = (CheckpointMeta::default(), chat_tokenizer());
        let precision = SavePrecision::F32;
        model::load::save(
            &teacher::<Flex>(),
            Some(&tokenizer),
            &folder,
            &meta,
            precision,
        )
        .unwrap();
        let source = TeacherSource::Path(folder);
        let error = Teacher::<Flex>::load(&source, &Default::default()).unwrap_err();
        let error = error.to_string();
        let sizes = format!(
            "its tokenizer has {} tokens, its embedding 32",
            tokenizer.vocab_size()
        );
        assert!(
            error.contains(&sizes) && error.contains("tokenizer.json"),
            "{error}"
        );
    }
}
