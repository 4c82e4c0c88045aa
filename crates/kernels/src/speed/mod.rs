//! Time of the operations on the device that a program is on.
//!
//! Each figure is the least of several rounds of launches that follow each other without a pause.
//! `forward` is the plain operation; `both` keeps what the backward pass needs and runs that,
//! through the output.

mod attention;
mod block;
mod decode_step;
mod inputs;
mod mamba2;
mod selective_scan;
mod timing;
mod verify;

pub use attention::masked_softmax;
pub use block::{rms_norm, rotary, swiglu};
pub use decode_step::{DecodeHeads, decode_step};
pub use mamba2::{Heads, causal_conv1d, gated_rms_norm, ssd};
pub use selective_scan::{Channels, selective_scan};
pub use timing::{Measurement, copy_gigabytes_per_s};
pub use verify::verify_ms;
