//! Shows a run: a fold of its events ([`App`]), pure views of that fold, and a terminal around them.
//!
//! Nothing here knows the trainer. The same events come live through a [`Feed`] or from disk through
//! [`LogReader`](crate::run::LogReader).
pub mod app;
mod feed;
mod keys;
mod plain;
mod session;
mod terminal;
pub mod view;
mod words;

pub use app::App;
pub use feed::Feed;
pub use plain::PlainLines;
pub use session::{Display, run_shown};
pub use terminal::{Ending, show};
pub use words::{duration, evaluated_line, percent, stage_label};
