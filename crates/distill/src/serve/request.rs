//! What clients write: bodies of `/v1/chat/completions` and `/v1/completions`.

use model::{Message, Role, Sampling};
use serde_json::Value;

use super::api_error::ApiError;
use super::fields::{Fields, wrong};

/// Most stop texts of a request, as OpenAI has it.
const MOST_STOPS: usize = 4;
/// Tokens of a completion that names no number, as OpenAI has it.
const COMPLETION_TOKENS: usize = 16;

/// Where a request was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completion,
}

/// What is to be continued.
#[derive(Debug, PartialEq)]
pub(super) enum Prompt {
    /// The last turn of a conversation is answered.
    Chat(Vec<Message>),
    /// Each text is continued.
    Texts(Vec<String>),
}

/// A request as it was written, every field of the right type.
#[derive(Debug, PartialEq)]
pub(super) struct Request {
    pub(super) model: String,
    pub(super) prompt: Prompt,
    /// How to draw, but for how many tokens and what they end at.
    pub(super) sampling: Sampling,
    /// Most tokens wanted, and the field that says so.
    pub(super) max_tokens: Option<(usize, &'static str)>,
    pub(super) stops: Vec<String>,
    /// Whether tokens are wanted as they are drawn.
    pub(super) stream: bool,
    /// Whether a stream is to end with a count of the tokens.
    pub(super) include_usage: bool,
}

impl Request {
    pub(super) fn read(endpoint: Endpoint, body: &[u8]) -> Result<Self, ApiError> {
        let value: Value = serde_json::from_slice(body)
            .map_err(|error| ApiError::request(format!("the body is not JSON: {error}")))?;
        let fields = Fields::of_request(&value)?;
        fields.required("model")?;
        let model = fields.text("model")?.unwrap_or_default().to_owned();
        let prompt = match endpoint {
            Endpoint::Chat => Prompt::Chat(messages(&fields)?),
            Endpoint::Completion => Prompt::Texts(texts(&fields)?),
        };
        refuse_unsupported(&fields)?;
        let max_tokens = match endpoint {
            Endpoint::Chat => "max_completion_tokens",
            Endpoint::Completion => "max_tokens",
        };
        let max_tokens = match (fields.count(max_tokens)?, fields.count("max_tokens")?) {
            (Some(count), _) => Some((count, max_tokens)),
            (None, Some(count)) => Some((count, "max_tokens")),
            (None, None) if endpoint == Endpoint::Completion => {
                Some((COMPLETION_TOKENS, "max_tokens"))
            }
            (None, None) => None,
        };
        let temperature = fields.number("temperature", 0.0..=2.0)?.unwrap_or(1.0);
        let seed = fields.whole("seed")?;
        let top_p = fields.number("top_p", 0.0..=1.0)?;
        let sampling = Sampling {
            top_p: top_p.filter(|p| *p < 1.0).map(|p| p as f32),
            ..Sampling::with_temperature(
                0,
                temperature as f32,
                seed.map_or_else(rand::random, i64::cast_unsigned),
            )
        };
        let stream = fields.flag("stream")?;
        let include_usage = match fields.get("stream_options") {
            Some(_) if !stream => {
                let message = "`stream_options` is only for requests with `stream`";
                return Err(ApiError::field("stream_options", message));
            }
            Some(options) => Fields::at(options, "stream_options")?.flag("include_usage")?,
            None => false,
        };
        Ok(Self {
            model,
            prompt,
            sampling,
            max_tokens,
            stops: stops(&fields)?,
            stream,
            include_usage,
        })
    }
}

/// Refuses what OpenAI has and this server has not, where a reply without it would be another one.
fn refuse_unsupported(fields: &Fields<'_>) -> Result<(), ApiError> {
    let is_empty = |value: &Value| match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    };
    let is_off = |value: &Value| *value == Value::Bool(false);
    let is_zero = |value: &Value| value.as_f64() == Some(0.0);
    if fields.get("n").is_some_and(|n| n.as_u64() != Some(1)) {
        let found = fields.get("n").unwrap_or(&Value::Null);
        return Err(wrong("n", found, "1: one reply a request"));
    }
    fields.unsupported("best_of", |value| value.as_u64() == Some(1))?;
    fields.unsupported("echo", is_off)?;
    // A number, in `/v1/completions`, asks for log-probabilities even when it is 0.
    fields.unsupported("logprobs", is_off)?;
    for name in ["top_logprobs", "presence_penalty", "frequency_penalty"] {
        fields.unsupported(name, is_zero)?;
    }
    for name in ["tools", "functions", "logit_bias", "suffix", "audio"] {
        fields.unsupported(name, is_empty)?;
    }
    fields.unsupported("response_format", |value| value["type"] == "text")
}

fn messages(fields: &Fields<'_>) -> Result<Vec<Message>, ApiError> {
    let value = fields.required("messages")?;
    let expected = "an array with at least one message";
    let list = value.as_array().filter(|list| !list.is_empty());
    let list = list.ok_or_else(|| wrong("messages", value, expected))?;
    let message = |(at, value)| {
        let fields = Fields::at(value, &format!("messages[{at}]"))?;
        let role = fields.required("role")?;
        let role = match role.as_str() {
            Some("system" | "developer") => Role::System,
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            _ => {
                let expected = "`system`, `developer`, `user` or `assistant`";
                return Err(wrong(&fields.name("role"), role, expected));
            }
        };
        Ok(Message::new(role, content(&fields)?))
    };
    list.iter().enumerate().map(message).collect()
}

/// The text of a message: a string, or parts that are text.
fn content(fields: &Fields<'_>) -> Result<String, ApiError> {
    let parts = match fields.required("content")? {
        Value::String(text) => return Ok(text.clone()),
        Value::Array(parts) => parts,
        other => {
            let expected = "a string or an array of parts";
            return Err(wrong(&fields.name("content"), other, expected));
        }
    };
    let part = |(at, value)| {
        let fields = Fields::at(value, &fields.name(&format!("content[{at}]")))?;
        let kind = fields.required("type")?;
        if kind != "text" {
            return Err(wrong(&fields.name("type"), kind, "`text`"));
        }
        fields.required("text")?;
        Ok(fields.text("text")?.unwrap_or_default())
    };
    parts.iter().enumerate().map(part).collect()
}

fn texts(fields: &Fields<'_>) -> Result<Vec<String>, ApiError> {
    let value = fields.required("prompt")?;
    let texts = match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(list) => strings(list),
        _ => None,
    };
    let texts = texts.filter(|texts| !texts.is_empty());
    texts.ok_or_else(|| wrong("prompt", value, "a string or an array of strings"))
}

fn stops(fields: &Fields<'_>) -> Result<Vec<String>, ApiError> {
    let stops = match fields.get("stop") {
        None => return Ok(Vec::new()),
        Some(Value::String(text)) => Some(vec![text.clone()]),
        Some(Value::Array(list)) => strings(list).filter(|stops| stops.len() <= MOST_STOPS),
        Some(_) => None,
    };
    let stops = stops.filter(|stops| stops.iter().all(|stop| !stop.is_empty()));
    let expected = format!("a string or up to {MOST_STOPS} strings, none of them empty");
    stops.ok_or_else(|| {
        wrong(
            "stop",
            fields.get("stop").unwrap_or(&Value::Null),
            &expected,
        )
    })
}

fn strings(list: &[Value]) -> Option<Vec<String>> {
    list.iter()
        .map(|item| item.as_str().map(str::to_owned))
        .collect()
}
