//! Running the tasks of one call, in parallel where that pays.

use rayon::prelude::*;

/// Elements of work below which waking the other threads costs more than it saves: one decoded
/// token, for example.
const SERIAL_BELOW: usize = 1 << 14;

/// Runs `task(0)` to `task(count - 1)`, in any order; `work` is about what all of them touch, in
/// elements.
pub(crate) fn for_each(count: usize, work: usize, task: impl Fn(usize) + Send + Sync) {
    if work < SERIAL_BELOW {
        (0..count).for_each(task);
    } else {
        (0..count).into_par_iter().for_each(task);
    }
}
