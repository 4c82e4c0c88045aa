//! A run: its folder, its append-only log of [`Event`]s, its manifest, and how it is asked to stop.
mod environment;
mod event;
mod folder;
mod log;
mod manifest;
mod reader;
mod request;
mod state;
mod stop;
mod telemetry;

pub use environment::Environment;
pub use event::{Event, EventSink, ModelSize, TimedEvent};
pub use folder::RunFolder;
pub use log::{EventLog, Tee};
pub(crate) use manifest::plan_sha256;
pub use manifest::{Manifest, Versions};
pub use reader::LogReader;
pub use request::{Request, Requests};
pub use state::{FinishedStage, LayerRanking, MicroBatch, RankingRound, RunState, Scores};
pub use stop::StopFlag;
pub use telemetry::{MemoryUse, Sample, StepParts, host_free_bytes, host_total_bytes};
