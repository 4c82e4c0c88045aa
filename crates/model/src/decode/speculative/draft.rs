//! Who guesses tokens: one trait, drafters with a model and without.

mod look_up_first;
mod model;
mod ngram;

pub use look_up_first::LookUpFirst;
pub use model::ModelDrafter;
pub(super) use model::read;
pub use ngram::NGramDrafter;

use burn::tensor::{Int, Tensor, backend::Backend};

use crate::decode::Sampler;

/// Guesses the next tokens of a batch of sequences.
pub trait Drafter<B: Backend> {
    /// Tokens of its vocabulary; none if it can guess any.
    fn vocab_size(&self) -> Option<usize>;

    /// Starts over with sequences that will grow to `capacity` tokens, and reads what they begin with; a beginning may be
    /// empty.
    fn start(&mut self, beginnings: &[&[u32]], capacity: usize);

    /// Reads `unread`, what each sequence got since the last call or [`start`](Self::start), and guesses up to `draft_len` tokens after that,
    /// each drawn by `sampler`. A sequence that got nothing is over. Drafts are not read: those accepted come back as
    /// unread.
    fn draft(&mut self, unread: &[Vec<u32>], draft_len: usize, sampler: &mut Sampler) -> Drafts<B>;

    /// Bytes of decode state of all sequences together.
    fn state_bytes(&self) -> usize;
}

/// Guesses of one round.
#[derive(Clone, Debug)]
pub struct Drafts<B: Backend> {
    /// Guessed tokens, `[batch, drafts]`; what follows the first `counts` of a row is any token
    pub tokens: Tensor<B, 2, Int>,
    /// Tokens guessed for each sequence
    pub counts: Vec<usize>,
    /// Logits that the sampler drew them from, `[batch, drafts, vocab]`; none if they were not drawn
    pub logits: Option<Tensor<B, 3>>,
}
