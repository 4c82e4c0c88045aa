//! What the dashboard knows: a fold over the events of a run, and what the user looks at.
mod alert;
mod estimate;
mod fold;
mod look;
mod stage;

pub use look::{ChartLook, LogLine, Look, Tab};
pub use stage::{ProfileView, Progress, StageView, StudentView};
pub use state::{App, DeviceView, LastStep, RunStatus};

mod state;
