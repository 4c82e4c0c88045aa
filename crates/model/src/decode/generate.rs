//! One prompt, one reply.

use std::ops::ControlFlow;

use kernels::SsmBackend;

use super::{Sampling, batch::generate_rows};
use crate::error::ModelError;
use crate::hybrid::HybridModel;

/// Why a reply ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// A stop token came next, or the caller wanted no more
    Stop,
    /// `max_tokens` were drawn
    Length,
}

/// What a model answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The tokens after the prompt, without the stop token
    pub tokens: Vec<u32>,
    /// Why it ended
    pub finish: Finish,
    /// Time to the first token in milliseconds; in a batch, to the first token of the shortest prompt
    pub prefill_ms: f64,
    /// Time from then to the end of this reply in milliseconds
    pub decode_ms: f64,
}

impl<B: SsmBackend> HybridModel<B> {
    /// Continues `prompt`: one prefill, then one step a token.
    ///
    /// # Errors
    /// [`ModelError::Prompt`] when the prompt is empty or holds an id outside the vocabulary.
    pub fn generate(&self, prompt: &[u32], sampling: &Sampling) -> Result<Reply, ModelError> {
        self.generate_each(prompt, sampling, |_| ControlFlow::Continue(()))
    }

    /// As [`generate`](Self::generate), telling `each` every token of the reply as soon as it is
    /// drawn; `Break` ends the reply after that token.
    ///
    /// # Errors
    /// [`ModelError::Prompt`] when the prompt is empty or holds an id outside the vocabulary.
    pub fn generate_each(
        &self,
        prompt: &[u32],
        sampling: &Sampling,
        mut each: impl FnMut(u32) -> ControlFlow<()>,
    ) -> Result<Reply, ModelError> {
        let mut each = |_, token| each(token);
        let mut replies = generate_rows(self, &[prompt.to_vec()], sampling, &mut each)?;
        Ok(replies.swap_remove(0))
    }
}
