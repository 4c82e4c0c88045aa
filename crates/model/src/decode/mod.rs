//! Decoding: prompt in, tokens out, for one prompt or many of different lengths at once.

mod batch;
mod continuous;
mod generate;
mod prefill;
mod row;
mod row_sampler;
mod sampler;
mod session;
pub mod speculative;

pub use batch::generate_batch;
pub use continuous::{ContinuousBatch, StreamId};
pub use generate::{Finish, Reply};
pub use sampler::{Sampler, Sampling};
pub use session::Session;
