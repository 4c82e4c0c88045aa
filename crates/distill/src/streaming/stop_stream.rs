//! Text up to a stop text, as it comes.

/// Passes text on up to the first of some stop texts, and holds back what may be the start of one.
pub(crate) struct StopStream {
    stops: Vec<String>,
    held: String,
    is_over: bool,
}

impl StopStream {
    pub(crate) fn new(stops: Vec<String>) -> Self {
        Self {
            stops: stops.into_iter().filter(|stop| !stop.is_empty()).collect(),
            held: String::new(),
            is_over: false,
        }
    }

    /// The text that is certain after `piece`.
    pub(crate) fn push(&mut self, piece: &str) -> String {
        if self.is_over {
            return String::new();
        }
        self.held += piece;
        let found = self.stops.iter().filter_map(|stop| self.held.find(stop));
        if let Some(at) = found.min() {
            self.is_over = true;
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let may_start = |at: &usize| {
            let rest = &self.held[*at..];
            self.stops.iter().any(|stop| stop.starts_with(rest))
        };
        let starts = self.held.char_indices().map(|(at, _)| at);
        let certain = starts
            .into_iter()
            .find(may_start)
            .unwrap_or(self.held.len());
        let rest = self.held.split_off(certain);
        std::mem::replace(&mut self.held, rest)
    }

    /// Whether a stop text came.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// What is left when the last `piece` has come.
    pub(crate) fn finish(&mut self, piece: &str) -> String {
        let text = self.push(piece);
        match self.is_over {
            true => text,
            false => text + &std::mem::take(&mut self.held),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_ends_before_a_stop_however_it_comes() {
        let text = "one\n\ntwo END three";
        for stops in [
            vec!["END"],
            vec!["END", "\n\n"],
            vec!["absent", ""],
            vec!["ee"],
        ] {
            let ends = stops.iter().filter(|stop| !stop.is_empty());
            let end = ends.filter_map(|stop| text.find(stop)).min();
            for size in [1, 2, 5, 50] {
                let mut stream = StopStream::new(stops.iter().map(|s| s.to_string()).collect());
                let mut written = String::new();
                for piece in text.as_bytes().chunks(size) {
                    written += &stream.push(std::str::from_utf8(piece).unwrap());
                    assert!(text[..end.unwrap_or(text.len())].starts_with(&written));
                }
                assert_eq!(stream.is_over, end.is_some(), "{stops:?}");
                written += &stream.finish("");
                assert_eq!(written, text[..end.unwrap_or(text.len())], "{stops:?}");
            }
        }
    }
}
