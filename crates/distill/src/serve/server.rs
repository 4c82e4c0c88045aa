//! Connections: accepting them, bounding them, and letting them end.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use model::{ChatTemplate, HybridModel, Tokenizer};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::api_error::ApiError;
use super::connection::Paced;
use super::engine::Engine;
use super::key::Key;
use super::limits::Limits;
use super::metrics::Metrics;
use super::response::unix_seconds;
use super::service::Service;
use crate::backend::InnerBackend;
use crate::run::StopFlag;

/// Connections beyond the limit that are told so; further ones are closed at once.
const REFUSED_AT_ONCE: usize = 64;
/// Time that those have.
const REFUSAL: Duration = Duration::from_secs(2);
/// Most bytes of a request's head.
const HEAD_BYTES: usize = 64 << 10;
/// How often it is asked whether to stop.
const STOP_CHECK: Duration = Duration::from_millis(50);
/// Wait after a connection could not be accepted, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Threads that cut prompts into tokens.
const PREPARING_THREADS: usize = 2;

/// What is served.
pub struct Served {
    /// The model.
    pub model: HybridModel<InnerBackend>,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// How its conversations are written; without one there are no chats.
    pub template: Option<ChatTemplate>,
    /// What clients call it.
    pub name: String,
}

/// A server that listens.
pub struct Server {
    listener: TcpListener,
    service: Service,
    engine: Engine,
    jobs: mpsc::Receiver<super::job::Job>,
}

impl Server {
    /// Listens at `address`; connections wait until [`run`](Self::run).
    ///
    /// # Errors
    /// If the address cannot be listened on, or the template needs a token that the tokenizer lacks.
    pub fn bind(
        address: SocketAddr,
        served: Served,
        limits: Limits,
        key: Option<Key>,
    ) -> anyhow::Result<Self> {
        let end_of_turn = match &served.template {
            Some(template) => Some(template.end_of_turn(&served.tokenizer)?),
            None => None,
        };
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let metrics = Arc::new(Metrics::default());
        let tokenizer = Arc::new(served.tokenizer);
        let (sender, jobs) = mpsc::channel();
        let service = Service {
            model_name: served.name,
            created: unix_seconds(),
            tokenizer: tokenizer.clone(),
            template: served.template,
            stop_tokens: served.model.config().llama.eos_token_ids.clone(),
            end_of_turn,
            key,
            jobs: sender,
            places: Arc::new(Semaphore::new(limits.max_streams + limits.max_waiting)),
            metrics: metrics.clone(),
            is_draining: AtomicBool::new(false),
            limits: limits.clone(),
        };
        let engine = Engine {
            model: served.model,
            tokenizer,
            max_streams: limits.max_streams,
            metrics,
        };
        Ok(Self {
            listener,
            service,
            engine,
            jobs,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers requests until `stop` is set, then finishes what was asked; calls `ready` when the model is.
    ///
    /// # Errors
    /// If the system gives no thread or timer.
    pub fn run(self, stop: &StopFlag, ready: impl FnOnce() + Send) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(PREPARING_THREADS)
            .build()?;
        let (engine, jobs) = (self.engine, self.jobs);
        std::thread::scope(|scope| {
            let engine = std::thread::Builder::new()
                .name("engine".into())
                .spawn_scoped(scope, move || engine.run(&jobs, ready))?;
            let is_over = || stop.is_set() || engine.is_finished();
            let run = runtime.block_on(run(self.listener, Arc::new(self.service), is_over));
            // The engine ends when nothing can send it a job any more: with the runtime go all tasks.
            drop(runtime);
            let failed = |_| io::Error::other("the engine failed");
            engine.join().map_err(failed).and(run)
        })
    }
}

async fn run(
    listener: TcpListener,
    service: Arc<Service>,
    is_over: impl Fn() -> bool,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(service.limits.max_connections));
    let refusals = Arc::new(Semaphore::new(REFUSED_AT_ONCE));
    let open = GracefulShutdown::new();
    while !is_over() {
        let Ok(accepted) = tokio::time::timeout(STOP_CHECK, listener.accept()).await else {
            continue;
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        if let Ok(place) = places.clone().try_acquire_owned() {
            let connection = connect(stream, service.clone(), open.watcher());
            tokio::spawn(async move {
                connection.await;
                drop(place);
            });
        } else if let Ok(place) = refusals.clone().try_acquire_owned() {
            tokio::spawn(async move {
                // Whether it was heard or not.
                let _ = tokio::time::timeout(REFUSAL, refuse(stream)).await;
                drop(place);
            });
        }
    }
    drop(listener);
    service.is_draining.store(true, Ordering::SeqCst);
    // No reply takes longer than its time, and no client longer than its own.
    let limits = &service.limits;
    let longest = limits.timeout + 2 * limits.client_timeout;
    let _ = tokio::time::timeout(longest, open.shutdown()).await;
    Ok(())
}

/// Answers the requests of one connection.
async fn connect(
    stream: TcpStream,
    service: Arc<Service>,
    watcher: hyper_util::server::graceful::Watcher,
) {
    // Pieces of a stream are small, and nobody should wait for the next.
    let _ = stream.set_nodelay(true);
    let patience = service.limits.client_timeout;
    let metrics = service.metrics.clone();
    metrics.connections.add(1);
    let answer = service_fn(move |request| {
        let answer = service.clone().answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection =
        builder(patience).serve_connection(TokioIo::new(Paced::new(stream, patience)), answer);
    // A client that breaks off or writes nonsense is no failure of ours.
    let _ = watcher.watch(connection).await;
    metrics.connections.sub(1);
}

/// Tells one connection too many that it is.
async fn refuse(stream: TcpStream) {
    let answer = service_fn(|_| async {
        let refusal = ApiError::unavailable("too many connections, try again later");
        Ok::<_, Infallible>(refusal.response())
    });
    let connection = builder(REFUSAL).serve_connection(TokioIo::new(stream), answer);
    let _ = connection.await;
}

fn builder(head_timeout: Duration) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(HEAD_BYTES);
    builder
}
