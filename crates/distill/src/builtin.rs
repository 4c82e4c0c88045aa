//! The tiny teacher that is part of the binary.
use kernels::SsmBackend;
use model::load::LoadedModel;

use crate::error::DistillError;

/// Loads the embedded teacher.
///
/// # Errors
/// [`DistillError::Missing`]: not part of this build.
pub fn load<B: SsmBackend>(_device: &B::Device) -> anyhow::Result<LoadedModel<B>> {
    Err(DistillError::Missing {
        thing: "the teacher `builtin:tiny`",
        cure: "give a GGUF file, a Hugging Face directory or a checkpoint as `--set teacher.path=PATH`",
    }
    .into())
}
