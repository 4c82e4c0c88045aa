//! What clients read: objects of `/v1/chat/completions` and `/v1/completions`.

use std::time::{SystemTime, UNIX_EPOCH};

use model::Finish;
use serde_json::{Value, json};

use super::request::Endpoint;

/// What all objects of one request share.
pub(super) struct Shape {
    endpoint: Endpoint,
    id: String,
    created: u64,
    model: String,
    /// Whether parts of a stream have the key `usage`, which is null in all but the last.
    pub(super) include_usage: bool,
}

/// Tokens of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) prompt: usize,
    pub(super) completion: usize,
}

/// One reply.
#[derive(Clone, Debug, Default)]
pub(super) struct Choice {
    pub(super) text: String,
    pub(super) finish: Option<Finish>,
}

impl Shape {
    pub(super) fn new(endpoint: Endpoint, model: &str, include_usage: bool) -> Self {
        let prefix = match endpoint {
            Endpoint::Chat => "chatcmpl",
            Endpoint::Completion => "cmpl",
        };
        Self {
            endpoint,
            id: format!("{prefix}-{:032x}", rand::random::<u128>()),
            created: unix_seconds(),
            model: model.to_owned(),
            include_usage,
        }
    }

    /// The whole answer.
    pub(super) fn whole(&self, choices: Vec<Choice>, usage: Usage) -> Value {
        let choice = |(index, Choice { text, finish })| match self.endpoint {
            Endpoint::Chat => json!({
                "index": index,
                "message": {"role": "assistant", "content": text, "refusal": null},
                "logprobs": null,
                "finish_reason": reason(finish),
            }),
            Endpoint::Completion => completion(index, &text, finish),
        };
        let choices: Vec<Value> = choices.into_iter().enumerate().map(choice).collect();
        let object = match self.endpoint {
            Endpoint::Chat => "chat.completion",
            Endpoint::Completion => "text_completion",
        };
        self.object(object, choices, Some(usage.json()))
    }

    /// What a stream of a chat begins with.
    pub(super) fn opening(&self, index: usize) -> Option<Value> {
        let delta = json!({"role": "assistant", "content": ""});
        (self.endpoint == Endpoint::Chat).then(|| self.part(vec![delta_of(index, delta, None)]))
    }

    /// More text of a reply.
    pub(super) fn piece(&self, index: usize, text: &str) -> Value {
        self.part(vec![match self.endpoint {
            Endpoint::Chat => delta_of(index, json!({"content": text}), None),
            Endpoint::Completion => completion(index, text, None),
        }])
    }

    /// The end of a reply.
    pub(super) fn ending(&self, index: usize, finish: Finish) -> Value {
        self.part(vec![match self.endpoint {
            Endpoint::Chat => delta_of(index, json!({}), Some(finish)),
            Endpoint::Completion => completion(index, "", Some(finish)),
        }])
    }

    /// The count at the end of a stream.
    pub(super) fn counted(&self, usage: Usage) -> Value {
        self.object(self.part_name(), Vec::new(), Some(usage.json()))
    }

    fn part(&self, choices: Vec<Value>) -> Value {
        let usage = self.include_usage.then_some(Value::Null);
        self.object(self.part_name(), choices, usage)
    }

    fn part_name(&self) -> &'static str {
        match self.endpoint {
            Endpoint::Chat => "chat.completion.chunk",
            Endpoint::Completion => "text_completion",
        }
    }

    fn object(&self, object: &str, choices: Vec<Value>, usage: Option<Value>) -> Value {
        let mut json = json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        });
        if let Some(usage) = usage {
            json["usage"] = usage;
        }
        json
    }
}

impl Usage {
    fn json(self) -> Value {
        json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
        })
    }
}

pub(super) fn unix_seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

fn delta_of(index: usize, delta: Value, finish: Option<Finish>) -> Value {
    json!({"index": index, "delta": delta, "logprobs": null, "finish_reason": reason(finish)})
}

fn completion(index: usize, text: &str, finish: Option<Finish>) -> Value {
    json!({"index": index, "text": text, "logprobs": null, "finish_reason": reason(finish)})
}

fn reason(finish: Option<Finish>) -> Option<&'static str> {
    finish.map(|finish| match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
    })
}
