//! An HTTP server that speaks OpenAI's interface for one model.
//!
//! Two threads: one runs the connections ([`Server`]), one owns the model and draws the tokens of all replies together (`engine`).
//! A request is read field by field (`request`), becomes one `Job` a reply, and hears of `Event`s until the replies are over, its
//! time is up or its client has gone, which frees its place in the batch.

mod api_error;
mod body;
mod connection;
mod engine;
mod fields;
mod incoming;
mod job;
mod key;
mod limits;
mod metrics;
mod panics;
mod request;
mod response;
mod server;
mod service;
mod sse;

pub use key::Key;
pub use limits::Limits;
pub use server::{Served, Server};
