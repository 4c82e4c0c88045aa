//! Replies as text while they are made: characters from tokens, and an end at a stop text.

mod stop_stream;
mod text_stream;

pub(crate) use stop_stream::StopStream;
pub(crate) use text_stream::TextStream;
