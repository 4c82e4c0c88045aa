//! Which keys a cache may forget because a sliding window has passed them.
//!
//! Keys are turned by their positions before they are held, and a window counts how far apart two tokens are: keys may lie
//! anywhere in order. So the first ones go, the others move to the front, and attention sees a shorter past.

use super::kv_cache::GRID;

/// Room beyond what a call needs that is left as it is: drafts differ in length from round to round.
const SPARE: usize = 4 * GRID;

/// Where the keys that are held of each sequence begin.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// Keys that a token sees at most, its own included
    size: usize,
    /// Tokens of each sequence whose keys were let go of
    starts: Vec<usize>,
}

/// How the layers make room.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shift {
    /// Keys of each sequence that go, from the first one held on
    pub(super) dropped: Vec<usize>,
    /// Keys that stay, of the sequence that keeps most
    pub(super) kept: usize,
    /// Tokens that there is room for then
    pub(super) room: usize,
}

impl Window {
    pub(super) fn new(size: usize, batch: usize) -> Self {
        Self {
            size,
            starts: vec![0; batch],
        }
    }

    /// Keys that a token sees at most, its own included.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Room that calls of `seq` tokens need at most: some of it is for a few calls, so that not each has to shift.
    pub(super) fn most_room(&self, seq: usize) -> usize {
        (self.size - 1 + seq).next_multiple_of(GRID) + GRID
    }

    /// Keys that are held of sequences of `lens` tokens.
    pub(super) fn held(&self, lens: &[usize]) -> Vec<usize> {
        let pairs = lens.iter().zip(&self.starts);
        pairs.map(|(len, start)| len - start).collect()
    }

    /// How sequences of `lens` tokens in `room` find place for `seq` more; none if there is enough and not far too much.
    pub(super) fn shift(&mut self, lens: &[usize], seq: usize, room: usize) -> Option<Shift> {
        let held = self.held(lens);
        let end = held.iter().max()? + seq;
        let most = self.most_room(seq);
        if end <= room && room <= most + SPARE {
            return None;
        }
        // The next token sees `size - 1` keys before its own.
        let first_seen = |len: &usize| len.saturating_sub(self.size - 1);
        let dropped: Vec<usize> = lens
            .iter()
            .zip(&self.starts)
            .map(|(len, start)| first_seen(len).saturating_sub(*start))
            .collect();
        for (start, dropped) in self.starts.iter_mut().zip(&dropped) {
            *start += dropped;
        }
        let kept = held.iter().zip(&dropped).map(|(held, gone)| held - gone);
        Some(Shift {
            kept: kept.max()?,
            dropped,
            room: end.max(2 * room).next_multiple_of(GRID).min(most),
        })
    }

    /// Appends the sequences of `other`.
    pub(super) fn append(&mut self, other: &Self) {
        self.starts.extend(&other.starts);
    }

    /// Keeps the sequences at `indices`, in that order.
    pub(super) fn select(&mut self, indices: &[usize]) {
        self.starts = indices.iter().map(|index| self.starts[*index]).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_doubles_up_to_the_window_and_then_keys_go() {
        let mut window = Window::new(40, 1);
        assert_eq!(window.most_room(1), 64);
        assert_eq!(window.shift(&[15], 1, 16), None);
        let shift = window.shift(&[16], 1, 16).unwrap();
        assert_eq!((shift.dropped, shift.kept, shift.room), (vec![0], 16, 32));
        let shift = window.shift(&[32], 1, 32).unwrap();
        assert_eq!((shift.dropped, shift.kept, shift.room), (vec![0], 32, 64));
        let shift = window.shift(&[64], 1, 64).unwrap();
        assert_eq!((shift.dropped, shift.kept, shift.room), (vec![25], 39, 64));
        assert_eq!(window.held(&[64]), [39]);
        // A long prompt makes room that is given back afterwards.
        let shift = window.shift(&[64], 300, 64).unwrap();
        assert_eq!((shift.kept, shift.room), (39, 352));
        let shift = window.shift(&[364], 1, 352).unwrap();
        assert_eq!((shift.dropped, shift.kept, shift.room), (vec![300], 39, 64));
    }

    #[test]
    fn each_sequence_forgets_what_its_own_next_token_does_not_see() {
        let mut window = Window::new(5, 2);
        let shift = window.shift(&[30, 3], 4, 32).unwrap();
        assert_eq!((shift.dropped, shift.kept), (vec![26, 0], 4));
        assert_eq!(window.held(&[30, 3]), [4, 3]);
        let mut other = Window::new(5, 1);
        other.shift(&[32], 1, 32).unwrap();
        window.append(&other);
        window.select(&[2, 0]);
        assert_eq!(window.held(&[33, 31]), [5, 5]);
        // Of a window of one key none is left.
        let mut narrow = Window::new(1, 1);
        assert_eq!(narrow.shift(&[32], 1, 32).unwrap().kept, 0);
    }
}
