//! Shows a run: a fold of its events ([`App`]), pure views of that fold, and a terminal around them.
//!
//! Nothing here knows the trainer. The same events come live through a [`Feed`] or from disk through
//! [`LogReader`](crate::run::LogReader).
pub mod app;
mod bars;
mod board;
mod feed;
mod keys;
mod picture;
mod plain;
mod series;
mod session;
mod terminal;
mod theme;
pub mod view;
mod vitals;
mod words;

pub use app::App;
use bars::Bars;
pub use board::{Board, show_all};
pub use feed::Feed;
pub use picture::picture;
pub use plain::PlainLines;
pub use series::Series;
pub use session::{Display, run_shown};
pub use terminal::{Ending, Shown, Source, show};
pub(crate) use terminal::{READING, pause_after};
pub use theme::{Colours, Theme};
pub use vitals::Vitals;
pub use words::{duration, evaluated_line, percent, stage_label};
