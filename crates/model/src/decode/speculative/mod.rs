//! Lossless speculative decoding of hybrids (method 5).
//!
//! A drafter guesses the next few tokens, the verifier reads them all in one pass, and as many are kept as the verifier
//! could have drawn itself, with one more token from the verifier's own distribution. Replies are those of
//! [`generate_batch`](super::generate_batch): the same tokens when greedy, the same distribution otherwise.
//!
//! ```text
//! verifier has read all but the last token        drafter has read what it was told
//! loop: d_1..d_K = draft(tokens since the last draft)
//!       p_1..p_K+1 = verify([last, d_1..d_K])      one pass; SSM layers replay what the last round kept
//!       n = drafts accepted, t = one more token
//!       keep n + 1 tokens of the pass; d_1..d_n and t are new, t is the last token
//! ```
//!
//! Each row of a batch keeps its own number of tokens. The greedy round reads token ids back, once; the sampled round ids and two
//! probabilities a draft, or with top-k or top-p the logits that it compares.

mod accept;
mod choices;
mod draft;
mod draft_len;
mod generate;
mod report;
#[cfg(test)]
mod tests;
mod verify;

pub use draft::{Drafter, Drafts, LookUpFirst, ModelDrafter, NGramDrafter};
pub use draft_len::{AutoDraftLen, DraftLen, Round};
pub use generate::{Speculation, generate_speculative};
pub use report::SpeculationReport;
