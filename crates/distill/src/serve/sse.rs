//! Replies as server-sent events.

use std::task::{Context, Poll};

use hyper::body::Bytes;
use serde_json::Value;
use tokio::sync::mpsc::UnboundedReceiver;

use super::api_error::ApiError;
use super::job::{Event, Failure, News};
use super::metrics::Watch;
use super::response::{Shape, Usage};

/// The replies of one request while they are made.
pub(super) struct EventStream {
    pub(super) events: UnboundedReceiver<Event>,
    pub(super) shape: Shape,
    pub(super) usage: Usage,
    /// Replies that are not over.
    pub(super) left: usize,
    pub(super) watch: Watch,
    /// Written, not yet sent.
    text: String,
}

impl EventStream {
    pub(super) fn new(
        events: UnboundedReceiver<Event>,
        shape: Shape,
        prompt_tokens: usize,
        replies: usize,
        watch: Watch,
    ) -> Self {
        let mut stream = Self {
            events,
            shape,
            usage: Usage {
                prompt: prompt_tokens,
                completion: 0,
            },
            left: replies,
            watch,
            text: String::new(),
        };
        for index in 0..replies {
            if let Some(opening) = stream.shape.opening(index) {
                stream.write(&opening);
            }
        }
        stream
    }

    /// All that there is to send; none after the end.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        while self.left > 0 {
            match self.events.poll_recv(context) {
                Poll::Pending if self.text.is_empty() => return Poll::Pending,
                Poll::Pending => break,
                Poll::Ready(Some(event)) => self.hear(event),
                // The engine ended without a word.
                Poll::Ready(None) => self.fail(Failure::Internal),
            }
        }
        let text = std::mem::take(&mut self.text);
        Poll::Ready((!text.is_empty()).then(|| text.into()))
    }

    fn hear(&mut self, event: Event) {
        match event.news {
            News::Text(text) => {
                self.watch.text();
                let piece = self.shape.piece(event.index, &text);
                self.write(&piece);
            }
            News::Finished { finish, tokens } => {
                let ending = self.shape.ending(event.index, finish);
                self.write(&ending);
                self.usage.completion += tokens;
                self.left -= 1;
                if self.left == 0 {
                    self.end();
                }
            }
            News::Failed(failure) => self.fail(failure),
        }
    }

    fn end(&mut self) {
        if self.shape.include_usage {
            let counted = self.shape.counted(self.usage);
            self.write(&counted);
        }
        self.text.push_str("data: [DONE]\n\n");
        self.watch.over();
    }

    /// Ends the stream with an error, as its head is sent already.
    fn fail(&mut self, failure: Failure) {
        self.write(&ApiError::from(failure).json());
        self.events.close();
        self.left = 0;
        self.watch.over();
    }

    fn write(&mut self, json: &Value) {
        // JSON of serde has no line feeds.
        self.text += &format!("data: {json}\n\n");
    }
}
