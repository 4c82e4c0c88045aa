//! From a request to its response.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::Instant;

use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{HeaderMap, Method, Response, StatusCode};
use model::{ChatTemplate, Sampling, Tokenizer};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};

use super::api_error::ApiError;
use super::body::{Body, event_response, json_response, text_response};
use super::incoming::read_json;
use super::job::{Event, Job, News};
use super::key::Key;
use super::limits::Limits;
use super::metrics::{Metrics, Watch};
use super::panics::Caught;
use super::request::{Endpoint, Prompt, Request};
use super::response::{Choice, Shape, Usage};
use super::sse::EventStream;

/// What all connections share.
pub(super) struct Service {
    pub(super) model_name: String,
    pub(super) created: u64,
    pub(super) tokenizer: Arc<Tokenizer>,
    pub(super) template: Option<ChatTemplate>,
    /// Tokens that end any reply.
    pub(super) stop_tokens: Vec<u32>,
    /// The token that ends a turn of a chat.
    pub(super) end_of_turn: Option<u32>,
    pub(super) limits: Limits,
    pub(super) key: Option<Key>,
    pub(super) jobs: Sender<Job>,
    /// Of replies that run or wait.
    pub(super) places: Arc<Semaphore>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) is_draining: AtomicBool,
}

/// A prompt.
type Tokens = Vec<u32>;

/// A request whose replies are being made.
struct Asked {
    events: mpsc::UnboundedReceiver<Event>,
    shape: Shape,
    stream: bool,
    prompt_tokens: usize,
    replies: usize,
    watch: Watch,
}

impl Service {
    /// Answers a request, whatever it is.
    pub(super) async fn answer(
        self: Arc<Self>,
        request: hyper::Request<Incoming>,
    ) -> Response<Body> {
        let label = label(request.uri().path());
        let metrics = self.metrics.clone();
        let response = match Caught::new(self.route(request)).await {
            Some(Ok(response)) => response,
            Some(Err(error)) => error.response(),
            None => ApiError::internal().response(),
        };
        metrics.answered(label, response.status().as_u16());
        response
    }

    async fn route(
        self: Arc<Self>,
        request: hyper::Request<Incoming>,
    ) -> Result<Response<Body>, ApiError> {
        let path = request.uri().path().to_owned();
        if self.is_draining.load(Ordering::SeqCst) {
            return Err(ApiError::unavailable("the server is about to end"));
        }
        if path != "/health" {
            self.authorize(request.headers())?;
        }
        let endpoint = match path.as_str() {
            "/v1/chat/completions" => Endpoint::Chat,
            "/v1/completions" => Endpoint::Completion,
            _ => return self.describe(&path, request.method()),
        };
        if request.method() != Method::POST {
            return Err(ApiError::method("POST"));
        }
        let asked = self.ask(endpoint, request).await?;
        match asked.stream {
            true => Ok(event_response(EventStream::new(
                asked.events,
                asked.shape,
                asked.prompt_tokens,
                asked.replies,
                asked.watch,
            ))),
            false => whole(asked).await,
        }
    }

    fn authorize(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let Some(key) = &self.key else {
            let host = headers.get(HOST).and_then(|host| host.to_str().ok());
            return match host.is_none_or(is_own_name) {
                true => Ok(()),
                false => Err(ApiError::misdirected()),
            };
        };
        let header = headers.get(AUTHORIZATION);
        match header.is_some_and(|header| key.is_in(header.as_bytes())) {
            true => Ok(()),
            false => Err(ApiError::unauthorized()),
        }
    }

    /// What is read and not made.
    fn describe(&self, path: &str, method: &Method) -> Result<Response<Body>, ApiError> {
        let model = || {
            json!({
                "id": self.model_name,
                "object": "model",
                "created": self.created,
                "owned_by": "serpentine",
                "max_model_len": self.limits.max_context,
            })
        };
        let ok = |json: &Value| json_response(StatusCode::OK, json);
        let response = match path {
            "/health" => ok(&json!({"status": "ok"})),
            "/metrics" => text_response(
                StatusCode::OK,
                "text/plain; version=0.0.4",
                self.metrics.text(),
            ),
            "/v1/models" => ok(&json!({"object": "list", "data": [model()]})),
            _ => match path.strip_prefix("/v1/models/") {
                Some(name) if name == self.model_name => ok(&model()),
                Some(name) => return Err(ApiError::unknown_model(name, &self.model_name)),
                None => return Err(ApiError::unknown_path(path)),
            },
        };
        match *method {
            Method::GET | Method::HEAD => Ok(response),
            _ => Err(ApiError::method("GET")),
        }
    }

    /// Reads a request and hands it to the engine.
    async fn ask(
        self: Arc<Self>,
        endpoint: Endpoint,
        request: hyper::Request<Incoming>,
    ) -> Result<Asked, ApiError> {
        let asked = Instant::now();
        let body = read_json(request, &self.limits).await?;
        // Long prompts take a while to be cut into tokens.
        let service = self.clone();
        let prepared = tokio::task::spawn_blocking(move || service.prepare(endpoint, &body));
        let (request, prompts) = prepared.await.map_err(|_| ApiError::internal())??;
        let stop_tokens = match endpoint {
            Endpoint::Chat => self.stop_tokens.iter().chain(&self.end_of_turn),
            Endpoint::Completion => self.stop_tokens.iter().chain(&None),
        };
        let stop_tokens: Vec<u32> = stop_tokens.copied().collect();
        let replies = prompts.len();
        let mut places = self
            .places
            .clone()
            .try_acquire_many_owned(u32::try_from(replies).unwrap_or(u32::MAX))
            .map_err(|_| ApiError::busy())?;
        let watch = Watch::new(self.metrics.clone(), asked);
        let (sender, events) = mpsc::unbounded_channel();
        let mut prompt_tokens = 0;
        for (index, (prompt, max_tokens)) in prompts.into_iter().enumerate() {
            prompt_tokens += prompt.len();
            let job = Job {
                prompt,
                sampling: Sampling {
                    max_tokens,
                    ..request.sampling.clone()
                }
                .stop_at(stop_tokens.clone()),
                stops: request.stops.clone(),
                index,
                deadline: asked + self.limits.timeout,
                events: sender.clone(),
                _place: places.split(1).ok_or_else(ApiError::internal)?,
            };
            self.jobs.send(job).map_err(|_| ApiError::internal())?;
        }
        Ok(Asked {
            events,
            shape: Shape::new(endpoint, &self.model_name, request.include_usage),
            stream: request.stream,
            prompt_tokens,
            replies,
            watch,
        })
    }

    /// The request, and for each of its replies the prompt and the most tokens.
    fn prepare(
        &self,
        endpoint: Endpoint,
        body: &[u8],
    ) -> Result<(Request, Vec<(Tokens, usize)>), ApiError> {
        let request = Request::read(endpoint, body)?;
        if request.model != self.model_name {
            return Err(ApiError::unknown_model(&request.model, &self.model_name));
        }
        let (field, prompts) = match &request.prompt {
            Prompt::Chat(messages) => {
                let template = self.template.as_ref().ok_or_else(|| {
                    ApiError::request("the model has no chat template, use `/v1/completions`")
                })?;
                let chat = template.encode_chat(&self.tokenizer, messages, true);
                let chat = chat.map_err(|error| ApiError::field("messages", error.to_string()))?;
                ("messages", vec![chat.ids])
            }
            Prompt::Texts(texts) => {
                let most = self.limits.max_streams + self.limits.max_waiting;
                if texts.len() > most {
                    let message = format!("`prompt` has {} texts, at most {most}", texts.len());
                    return Err(ApiError::field("prompt", message));
                }
                let prompts = texts.iter().map(|text| self.tokenizer.encode(text));
                ("prompt", prompts.collect())
            }
        };
        let with_most = |prompt: Tokens| {
            let most = self.most_tokens(field, prompt.len(), request.max_tokens)?;
            Ok((prompt, most))
        };
        let prompts = prompts.into_iter().map(with_most);
        let prompts = prompts.collect::<Result<_, ApiError>>()?;
        Ok((request, prompts))
    }

    /// Most tokens of a reply to `prompt` tokens, which the field `field` brought.
    fn most_tokens(
        &self,
        field: &'static str,
        prompt: usize,
        wanted: Option<(usize, &'static str)>,
    ) -> Result<usize, ApiError> {
        let Limits {
            max_context,
            max_tokens,
            ..
        } = self.limits;
        if prompt == 0 {
            return Err(ApiError::field(field, format!("`{field}` is empty")));
        }
        if prompt >= max_context {
            return Err(ApiError::too_long(
                field,
                format!(
                    "`{field}` has {prompt} tokens, which leave no room in a context of {max_context}"
                ),
            ));
        }
        let room = max_context - prompt;
        match wanted {
            None => Ok(max_tokens.min(room)),
            Some((wanted, field)) if wanted > max_tokens => Err(ApiError::field(
                field,
                format!("`{field}` is {wanted}, must be at most {max_tokens}"),
            )),
            Some((wanted, field)) if wanted > room => Err(ApiError::too_long(
                field,
                format!(
                    "`{field}` is {wanted}, but {prompt} tokens of prompt leave {room} in a context of {max_context}"
                ),
            )),
            Some((wanted, _)) => Ok(wanted),
        }
    }
}

/// Waits for all replies.
async fn whole(mut asked: Asked) -> Result<Response<Body>, ApiError> {
    let mut choices = vec![Choice::default(); asked.replies];
    let (mut left, mut completion) = (asked.replies, 0);
    while left > 0 {
        let event = asked.events.recv().await;
        let Event { index, news } = event.ok_or_else(ApiError::internal)?;
        match news {
            News::Text(text) => {
                asked.watch.text();
                choices[index].text += &text;
            }
            News::Finished { finish, tokens } => {
                choices[index].finish = Some(finish);
                completion += tokens;
                left -= 1;
            }
            News::Failed(failure) => {
                asked.watch.over();
                return Err(failure.into());
            }
        }
    }
    asked.watch.over();
    let usage = Usage {
        prompt: asked.prompt_tokens,
        completion,
    };
    let json = asked.shape.whole(choices, usage);
    Ok(json_response(StatusCode::OK, &json))
}

/// Whether a `Host` is this machine's own name or an address: a page whose name was made to point here is neither.
fn is_own_name(host: &str) -> bool {
    let has_port = |(_, port): &(&str, &str)| port.bytes().all(|byte| byte.is_ascii_digit());
    let name = host.rsplit_once(':').filter(has_port);
    let name = name.map_or(host, |(name, _)| name);
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

/// How metrics call a path: few names, whatever clients ask for.
fn label(path: &str) -> &'static str {
    match path {
        "/v1/chat/completions" => "chat",
        "/v1/completions" => "completions",
        "/health" => "health",
        "/metrics" => "metrics",
        _ if path.starts_with("/v1/models") => "models",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_others_can_point_here_are_not_its_own() {
        for host in [
            "localhost",
            "LocalHost:8080",
            "127.0.0.1",
            "127.0.0.1:80",
            "[::1]",
            "[::1]:8080",
        ] {
            assert!(is_own_name(host), "{host}");
        }
        for host in [
            "example.org",
            "example.org:8080",
            "localhost.example.org",
            "127.0.0.1.example.org",
            "",
            ":80",
        ] {
            assert!(!is_own_name(host), "{host}");
        }
    }
}
