//! A judge behind an endpoint that speaks OpenAI's chat completions.
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context;
use eval::judge::{Ask, Kind, Said};
use serde_json::{Value, json};
use ureq::Agent;

use super::Judge;
use super::judge::Heard;
use crate::error::DistillError;

/// First wait after a failed request; each later one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Longest wait.
const LAST_WAIT: Duration = Duration::from_secs(60);
/// How much of an error's body is shown.
const SHOWN: usize = 300;
/// Candidates for the first token that are asked for.
const TOP_LOGPROBS: usize = 5;

/// Where a judge is and how it is asked.
#[derive(Debug, Clone)]
pub struct EndpointOptions {
    /// Base of the interface, such as `http://127.0.0.1:8000/v1`.
    pub url: String,
    /// Model of the endpoint.
    pub model: String,
    /// Key, if the endpoint wants one.
    pub key: Option<String>,
    /// Time that a request has.
    pub timeout: Duration,
    /// Further tries of a request that failed for a reason that may pass.
    pub retries: u32,
    /// Requests under way at once.
    pub parallel: usize,
    /// Most tokens of a judgment.
    pub reply_tokens: usize,
    /// Whether to ask how likely `m` and `M` are, where the endpoint can say.
    pub logprobs: bool,
}

/// The judge.
pub struct Endpoint {
    agent: Agent,
    url: String,
    name: String,
    options: EndpointOptions,
}

/// Why a request failed.
struct Failure {
    problem: String,
    /// Whether the same request may succeed later, and after what time if the endpoint says so.
    again: Option<Option<Duration>>,
}

impl Endpoint {
    /// A judge at an address; nothing is asked yet.
    ///
    /// # Errors
    /// [`DistillError::KeyInTheClear`] when a key would cross a network unencrypted.
    pub fn new(options: EndpointOptions) -> Result<Self, DistillError> {
        let host = options.url.strip_prefix("http://");
        let host = host.and_then(|rest| rest.split(['/', '?']).next());
        if options.key.is_some() && host.is_some_and(|host| !is_this_machine(host)) {
            return Err(DistillError::KeyInTheClear { url: options.url });
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(options.timeout))
            .user_agent(concat!("serpentine/", env!("CARGO_PKG_VERSION")));
        Ok(Self {
            agent: config.build().into(),
            url: format!("{}/chat/completions", options.url.trim_end_matches('/')),
            name: options.model.clone(),
            options,
        })
    }

    /// A reply, after as many tries as allowed; gives up early when `is_over`.
    fn reply(&self, ask: &Ask, is_over: &AtomicBool) -> anyhow::Result<Said> {
        let mut wait = FIRST_WAIT;
        let mut tries = 0;
        loop {
            let failure = match self.request(ask) {
                Ok(said) => return Ok(said),
                Err(failure) => failure,
            };
            tries += 1;
            let Some(asked) = failure
                .again
                .filter(|_| tries <= self.options.retries && !is_over.load(Ordering::Relaxed))
            else {
                return Err(DistillError::Judge {
                    url: self.url.clone(),
                    problem: failure.problem,
                    tries,
                }
                .into());
            };
            std::thread::sleep(asked.unwrap_or(wait).min(LAST_WAIT));
            wait = (2 * wait).min(LAST_WAIT);
        }
    }

    fn request(&self, ask: &Ask) -> Result<Said, Failure> {
        let wants_letters = ask.kind == Kind::Token && self.options.logprobs;
        let mut messages = vec![json!({ "role": "user", "content": ask.user })];
        if !ask.system.is_empty() {
            messages.insert(0, json!({ "role": "system", "content": ask.system }));
        }
        let mut body = json!({
            "model": self.options.model,
            "messages": messages,
            "temperature": 0,
            "max_tokens": if wants_letters { 1 } else { self.options.reply_tokens },
        });
        if wants_letters {
            body["logprobs"] = json!(true);
            body["top_logprobs"] = json!(TOP_LOGPROBS);
        }
        let mut request = self
            .agent
            .post(&self.url)
            .header("content-type", "application/json");
        if let Some(key) = &self.options.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let passing = |problem: String| Failure {
            problem,
            again: Some(None),
        };
        let mut response =
            request
                .send(body.to_string().as_bytes())
                .map_err(|error| match error {
                    ureq::Error::BadUri(_) | ureq::Error::Http(_) => Failure {
                        problem: error.to_string(),
                        again: None,
                    },
                    _ => passing(error.to_string()),
                })?;
        let status = response.status().as_u16();
        let wait = response.headers().get("retry-after");
        let wait = wait
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let text = response
            .body_mut()
            .read_to_string()
            .map_err(|error| passing(error.to_string()))?;
        if status != 200 {
            let may_pass = matches!(status, 408 | 409 | 425 | 429 | 500..);
            let problem = format!("status {status}: {}", shown(&text));
            return Err(Failure {
                problem,
                again: may_pass.then_some(wait),
            });
        }
        said(&text).ok_or_else(|| Failure {
            problem: format!(
                "no `choices.0.message.content` in the reply: {}",
                shown(&text)
            ),
            again: None,
        })
    }
}

/// Whether a host of an address, with its port, is this machine.
fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost"
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// The start of a body on one line.
fn shown(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

/// Content and candidates of a completion.
fn said(text: &str) -> Option<Said> {
    let value: Value = serde_json::from_str(text).ok()?;
    let choice = value.get("choices")?.get(0)?;
    let top = &choice["logprobs"]["content"][0]["top_logprobs"];
    let candidate =
        |one: &Value| Some((one["token"].as_str()?.to_owned(), one["logprob"].as_f64()?));
    Some(Said {
        text: choice["message"]["content"].as_str()?.into(),
        first_token: top
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(candidate)
            .collect(),
        is_cut: false,
    })
}

impl Judge for Endpoint {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_proxy(&self) -> bool {
        false
    }

    fn hear(&self, asks: &[&Ask], heard: Heard) -> anyhow::Result<()> {
        let next = AtomicUsize::new(0);
        let is_over = AtomicBool::new(false);
        let (sender, replies) = mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..self.options.parallel.clamp(1, asks.len().max(1)) {
                let (sender, next, is_over) = (sender.clone(), &next, &is_over);
                scope.spawn(move || {
                    while !is_over.load(Ordering::Relaxed) {
                        let place = next.fetch_add(1, Ordering::Relaxed);
                        let Some(ask) = asks.get(place) else { break };
                        let reply = self.reply(ask, is_over);
                        if reply.is_err() {
                            is_over.store(true, Ordering::Relaxed);
                        }
                        // The receiver outlives every sender.
                        let _ = sender.send((place, reply));
                    }
                });
            }
            drop(sender);
            let mut first = Ok(());
            for (place, reply) in replies {
                // Replies that are under way when one fails are paid for: they are kept too.
                let done = reply.and_then(|said| heard(place, said));
                if done.is_err() {
                    is_over.store(true, Ordering::Relaxed);
                    first = first.and(done);
                }
            }
            first
        })
        .context("judging stopped; what was heard so far is kept")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read_with_their_candidates() {
        let text = r#"{"choices": [{"message": {"content": "M"}, "logprobs": {"content": [
            {"token": "M", "top_logprobs": [{"token": "M", "logprob": -0.1}, {"token": "m", "logprob": -2.5}]}]}}]}"#;
        let found = said(text).unwrap();
        assert_eq!((found.text.as_str(), found.first_token.len()), ("M", 2));
        assert_eq!(found.first_token[1], ("m".into(), -2.5));
        assert_eq!(said(r#"{"choices": []}"#), None);
        assert_eq!(said("<html>"), None);
    }

    #[test]
    fn a_key_does_not_cross_a_network_in_the_clear() {
        let new = |url: &str| {
            Endpoint::new(EndpointOptions {
                url: url.into(),
                model: "judge".into(),
                key: Some("secret".into()),
                timeout: Duration::from_secs(1),
                retries: 0,
                parallel: 1,
                reply_tokens: 1,
                logprobs: true,
            })
        };
        for url in [
            "http://127.0.0.1:8000/v1",
            "http://[::1]:80",
            "http://localhost/v1",
            "https://example.org/v1",
        ] {
            assert!(new(url).is_ok(), "{url}");
        }
        for url in [
            "http://example.org/v1",
            "http://127.0.0.1.example.org/v1",
            "http://10.0.0.1:80/v1",
        ] {
            let error = new(url)
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default();
            assert!(
                error.contains(url) && !error.contains("secret"),
                "{url}: {error}"
            );
        }
    }
}
