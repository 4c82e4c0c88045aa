//! What clients can ask of a server at most.

use std::time::Duration;

/// Bounds on requests, replies and connections.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Replies drawn together.
    pub max_streams: usize,
    /// Replies that may wait for their turn.
    pub max_waiting: usize,
    /// Tokens of a reply.
    pub max_tokens: usize,
    /// Tokens of a prompt and its reply together.
    pub max_context: usize,
    /// Bytes of a request's body.
    pub max_body_bytes: usize,
    /// Connections at once.
    pub max_connections: usize,
    /// From the head of a request to the end of its reply.
    pub timeout: Duration,
    /// For a client to send a head, to send a body, and to take a part of a reply.
    pub client_timeout: Duration,
}
