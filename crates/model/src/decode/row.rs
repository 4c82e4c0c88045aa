//! A reply as it grows.

use std::ops::ControlFlow;

use super::{Finish, Reply, Sampling};

/// A reply being drawn.
#[derive(Default)]
pub(super) struct Row {
    tokens: Vec<u32>,
    finish: Option<Finish>,
    end_ms: f64,
}

impl Row {
    /// Appends a drawn token unless the reply is over; returns the token to feed next.
    pub(super) fn take(
        &mut self,
        token: u32,
        sampling: &Sampling,
        now_ms: f64,
        each: impl FnOnce(u32) -> ControlFlow<()>,
    ) -> u32 {
        if self.finish.is_some() {
            return token;
        }
        self.end_ms = now_ms;
        if sampling.stop_tokens.contains(&token) {
            self.finish = Some(Finish::Stop);
            return token;
        }
        self.tokens.push(token);
        if each(token).is_break() {
            self.finish = Some(Finish::Stop);
        } else if self.tokens.len() == sampling.max_tokens {
            self.finish = Some(Finish::Length);
        }
        token
    }

    pub(super) fn is_over(&self) -> bool {
        self.finish.is_some()
    }

    /// Tokens drawn so far.
    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The reply, after a prefill that took `prefill_ms`.
    pub(super) fn into_reply(self, prefill_ms: f64) -> Reply {
        let decode_ms = (self.end_ms - prefill_ms).max(0.0);
        let finish = self.finish.unwrap_or(Finish::Length);
        Reply {
            tokens: self.tokens,
            finish,
            prefill_ms,
            decode_ms,
        }
    }
}
