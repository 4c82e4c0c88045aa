//! What a run loses when it is killed, its disk fails or a bit of it flips: nothing that was committed.
//!
//! Each test is short here; `CRASH_KILLS` and `CRASH_FLIPS` in the environment ask for more, and `docs/reliability.md` says what was
//! found with how many.
mod kills;
mod locks;
mod reference;
#[path = "../integration/teacher.rs"]
mod teacher;
