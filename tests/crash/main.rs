//! What a run loses when it is killed, its disk fails or a bit of it flips: nothing that was committed.
//!
//! Short here; `CRASH_KILLS` in the environment asks for more kills, and `docs/reliability.md` says what was found with how many.
mod kills;
mod locks;
mod reference;
#[path = "../integration/teacher.rs"]
mod teacher;
