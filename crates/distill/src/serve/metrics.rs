//! What the server counts, as text for Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Upper bounds of the buckets of times, in milliseconds.
const BUCKETS_MS: [u64; 12] = [
    5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 10_000, 60_000, 300_000,
];

/// Counts and gauges of one server.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    pub(super) prompt_tokens: Number,
    pub(super) completion_tokens: Number,
    /// Replies in the batch.
    pub(super) active: Number,
    /// Replies that wait for a place in it.
    pub(super) waiting: Number,
    pub(super) state_bytes: Number,
    pub(super) connections: Number,
    abandoned: Number,
    reply_time: Times,
    first_text_time: Times,
}

/// A count that grows, or a gauge.
#[derive(Debug, Default)]
pub(super) struct Number(AtomicU64);

impl Number {
    pub(super) fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(super) fn sub(&self, count: usize) {
        self.0.fetch_sub(count as u64, Ordering::Relaxed);
    }

    pub(super) fn set(&self, value: usize) {
        self.0.store(value as u64, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A histogram of times.
#[derive(Debug, Default)]
struct Times {
    /// Times within each bound and above the one before.
    buckets: [AtomicU64; BUCKETS_MS.len()],
    count: AtomicU64,
    sum_us: AtomicU64,
}

impl Times {
    fn add(&self, time: Duration) {
        let ms = time.as_millis();
        let bucket = BUCKETS_MS.iter().position(|bound| ms <= u128::from(*bound));
        if let Some(bucket) = bucket {
            self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    fn write(&self, text: &mut String, name: &str, help: &str) {
        head(text, name, help, "histogram");
        let mut within = 0;
        for (bound, bucket) in BUCKETS_MS.iter().zip(&self.buckets) {
            within += bucket.load(Ordering::Relaxed);
            let bound = *bound as f64 / 1e3;
            line(text, &format!("{name}_bucket{{le=\"{bound}\"}}"), within);
        }
        let count = self.count.load(Ordering::Relaxed);
        line(text, &format!("{name}_bucket{{le=\"+Inf\"}}"), count);
        let sum = self.sum_us.load(Ordering::Relaxed) as f64 / 1e6;
        line(text, &format!("{name}_sum"), sum);
        line(text, &format!("{name}_count"), count);
    }
}

impl Metrics {
    /// Counts a response.
    pub(super) fn answered(&self, endpoint: &'static str, status: u16) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((endpoint, status)).or_default() += 1;
    }

    /// Everything, in Prometheus' text format.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let name = "distill_requests_total";
        head(
            &mut text,
            name,
            "Responses by endpoint and status",
            "counter",
        );
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        for ((endpoint, status), count) in &*requests {
            let labels = format!("{name}{{endpoint=\"{endpoint}\",status=\"{status}\"}}");
            line(&mut text, &labels, count);
        }
        drop(requests);
        for (name, help, kind, number) in [
            (
                "prompt_tokens_total",
                "Tokens of prompts",
                "counter",
                &self.prompt_tokens,
            ),
            (
                "completion_tokens_total",
                "Tokens drawn",
                "counter",
                &self.completion_tokens,
            ),
            (
                "abandoned_total",
                "Requests whose client left before the end",
                "counter",
                &self.abandoned,
            ),
            (
                "streams_active",
                "Replies drawn together",
                "gauge",
                &self.active,
            ),
            (
                "streams_waiting",
                "Replies waiting for their turn",
                "gauge",
                &self.waiting,
            ),
            (
                "state_bytes",
                "Decode state of the active replies",
                "gauge",
                &self.state_bytes,
            ),
            (
                "connections",
                "Open connections",
                "gauge",
                &self.connections,
            ),
        ] {
            let name = format!("distill_{name}");
            head(&mut text, &name, help, kind);
            line(&mut text, &name, number.get());
        }
        let help = "Time from request to the end of its replies";
        self.reply_time
            .write(&mut text, "distill_reply_seconds", help);
        let help = "Time from request to the first text of a reply";
        self.first_text_time
            .write(&mut text, "distill_first_text_seconds", help);
        text
    }
}

fn head(text: &mut String, name: &str, help: &str, kind: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(text: &mut String, name: &str, value: impl std::fmt::Display) {
    let _ = writeln!(text, "{name} {value}");
}

/// The time of a request whose replies are being made; one that is dropped before its end was abandoned.
#[derive(Debug)]
pub(super) struct Watch {
    metrics: Arc<Metrics>,
    started: Instant,
    has_text: bool,
    is_over: bool,
}

impl Watch {
    pub(super) fn new(metrics: Arc<Metrics>, started: Instant) -> Self {
        Self {
            metrics,
            started,
            has_text: false,
            is_over: false,
        }
    }

    /// Text has come.
    pub(super) fn text(&mut self) {
        if !self.has_text {
            self.has_text = true;
            self.metrics.first_text_time.add(self.started.elapsed());
        }
    }

    /// The end has come.
    pub(super) fn over(&mut self) {
        self.is_over = true;
        self.metrics.reply_time.add(self.started.elapsed());
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.is_over {
            self.metrics.abandoned.add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_count_what_is_within_them_and_the_last_one_all() {
        let metrics = Metrics::default();
        for ms in [3, 5, 30, 400_000] {
            metrics.reply_time.add(Duration::from_millis(ms));
        }
        metrics.answered("chat", 200);
        metrics.answered("chat", 200);
        let text = metrics.text();
        for line in [
            "# TYPE distill_reply_seconds histogram",
            "distill_reply_seconds_bucket{le=\"0.005\"} 2",
            "distill_reply_seconds_bucket{le=\"0.01\"} 2",
            "distill_reply_seconds_bucket{le=\"0.05\"} 3",
            "distill_reply_seconds_bucket{le=\"300\"} 3",
            "distill_reply_seconds_bucket{le=\"+Inf\"} 4",
            "distill_reply_seconds_sum 400.038",
            "distill_reply_seconds_count 4",
            "distill_requests_total{endpoint=\"chat\",status=\"200\"} 2",
        ] {
            assert!(text.lines().any(|own| own == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn a_request_that_is_dropped_before_its_end_was_abandoned() {
        let metrics = Arc::new(Metrics::default());
        let mut watch = Watch::new(metrics.clone(), Instant::now());
        watch.over();
        drop(watch);
        assert_eq!(metrics.abandoned.get(), 0);
        drop(Watch::new(metrics.clone(), Instant::now()));
        assert_eq!(metrics.abandoned.get(), 1);
    }
}
