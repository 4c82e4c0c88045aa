//! Decoding: prompt in, tokens out, for one prompt or many of different lengths at once.

mod batch;
mod generate;
mod prefill;
mod row;
mod sampler;
mod session;
pub mod speculative;

pub use batch::generate_batch;
pub use generate::{Finish, Reply};
pub use sampler::{Sampler, Sampling};
pub use session::Session;
