//! What a run came to, for people who were not there: a page, a model card, tables and TensorBoard's files.

mod card;
mod csv;
mod facts;
mod heat;
mod page;
mod shape;
mod students;
mod tensorboard;

pub use card::model_card;
pub use csv::{results_csv, steps_csv};
pub use facts::RunFacts;
pub use page::page;
pub use shape::{ShapeResult, shape_checks};
pub use tensorboard::event_files;
