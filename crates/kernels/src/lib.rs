//! Operations for burn: what Mamba blocks, and the attention that stays beside them, need beyond ordinary
//! tensor operations.
//!
//! | operation | used by | equation |
//! | --- | --- | --- |
//! | [`selective_scan()`] | Mamba1 | `h_t = exp(dt_t a) h_{t-1} + dt_t b_t u_t`, `y_t = c_t . h_t + d u_t` |
//! | [`ssd()`] | Mamba2 | the same with one decay a head and a matrix state, in chunks |
//! | [`causal_conv1d()`] | both mixers | short depthwise filter over earlier steps, then SiLU |
//! | [`gated_rms_norm()`] | Mamba2 | RMS norm of `y * silu(z)` in groups of channels |
//! | [`masked_softmax()`] | attention | softmax of scaled scores over the keys that each query sees |
//! | [`product()`] | everything in training | products of matrices |
//! | [`rms_norm()`] | every block | RMS norm of the residual stream, in the type of what follows |
//! | [`swiglu()`] | every MLP | `silu(gate) * up` |
//! | [`rotary()`] | attention | heads turned by the positions of their steps |
//! | [`decode_step()`] | both mixers | one token: all of the above that a mixer does between its projections |
//! | [`verify()`] | both mixers | drafted tokens, after as many of the last ones as were kept |
//! | [`fused_linear()`] | a block, few tokens | norm, products with weights, and a residual or a gate |
//! | [`cached_attention()`] | attention, few tokens | rotation, new keys and values into the cache, softmax over it |
//! | [`argmax()`] | greedy decoding | the most likely token |
//! | [`weigh_drafts()`] | sampled speculation | how likely drafts are, and the tokens to take in their place |
//! | [`cross_entropy_kl()`] | training | cross-entropy and forward KL of each row of logits, with their gradient |
//! | [`squared_norm()`] | training | sum of the squares of all gradients |
//! | [`adamw()`] | training | one step of the optimiser for one tensor |
//!
//! Tensors are time-major: `[batch, seq, channels]`, channels innermost. All but the last two is
//! differentiable, through the last state too, so that a long sequence can be run in pieces. A
//! `reset` input marks where documents start in packed rows; nothing is carried across it.
//!
//! Any backend that implements [`SsmBackend`] runs the operations. Its default methods are the
//! references, forward and backward in plain tensor operations, and serve GPUs; the CPU backend
//! replaces them by host loops; `Fusion` puts a GPU's in its queue; `Autodiff` puts any on burn's
//! tape. Backward passes keep states at chunk boundaries only, or none, and recompute the rest.
//!
//! ```
//! # #[cfg(feature = "flex")] {
//! use burn::backend::{Autodiff, Flex};
//! use burn::tensor::{Distribution, Tensor};
//! use kernels::{SsdInputs, SsdOptions, ssd};
//!
//! type B = Autodiff<Flex>;
//! let device = Default::default();
//! let (batch, seq, nheads, headdim, d_state) = (2, 10, 3, 8, 4);
//! let x = Tensor::<B, 4>::random(
//!     [batch, seq, nheads, headdim],
//!     Distribution::Default,
//!     &device,
//! )
//! .require_grad();
//! let inputs = SsdInputs {
//!     x: x.clone(),
//!     dt: Tensor::zeros([batch, seq, nheads], &device),
//!     a: Tensor::full([nheads], -1.0, &device),
//!     b: Tensor::ones([batch, seq, nheads, d_state], &device),
//!     c: Tensor::ones([batch, seq, nheads, d_state], &device),
//!     d: None,
//!     z: None,
//!     dt_bias: None,
//!     initial_state: None,
//!     reset: None,
//! };
//! let output = ssd(inputs, SsdOptions::default())?;
//! assert_eq!(output.last_state.dims(), [batch, nheads, headdim, d_state]);
//!
//! let gradients = output.y.sum().backward();
//! assert_eq!(x.grad(&gradients).expect("x is tracked").dims(), x.dims());
//! # }
//! # Ok::<(), kernels::KernelError>(())
//! ```

mod activation;
pub mod adamw;
pub mod argmax;
mod autodiff;
mod backend;
pub mod cached_attention;
pub mod causal_conv1d;
pub mod cross_entropy_kl;
#[cfg(feature = "cube")]
mod cube;
pub mod decode_step;
mod error;
#[cfg(feature = "flex")]
mod flex;
mod freed_memory;
pub mod fused_linear;
#[cfg(feature = "fusion")]
mod fusion;
pub mod gated_rms_norm;
#[cfg(feature = "flex")]
mod host;
pub mod masked_softmax;
mod primitive;
pub mod product;
pub mod rms_norm;
pub mod rotary;
mod seeded;
pub mod selective_scan;
pub mod self_test;
pub mod speed;
pub mod squared_norm;
pub mod ssd;
pub mod swiglu;
#[cfg(feature = "tch")]
mod tch;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod verify;
pub mod weigh_drafts;

pub use adamw::{AdamwOutput, AdamwStep, adamw};
pub use argmax::argmax;
pub use backend::{DeviceMemory, SsmBackend, StateSpaceOutput};
pub use cached_attention::{
    CacheLengths, CachedAttentionInputs, CachedAttentionOutput, cached_attention,
};
pub use causal_conv1d::{CausalConv1dInputs, CausalConv1dOutput, causal_conv1d};
pub use cross_entropy_kl::{CrossEntropyKlInputs, CrossEntropyKlOutput, cross_entropy_kl};
#[cfg(feature = "cube")]
pub use cube::keep_compiled_kernels;
pub use decode_step::{DecodeState, DecodeStep, DecodeStepShape, DecodeStepWeights, decode_step};
pub use error::KernelError;
pub use freed_memory::return_freed_memory;
pub use fused_linear::{FusedLinearInputs, FusedOutput, fused_linear};
pub use gated_rms_norm::gated_rms_norm;
pub use masked_softmax::{VisibleKeys, masked_softmax};
pub use product::product;
pub use rms_norm::rms_norm;
pub use rotary::rotary;
pub use selective_scan::{SelectiveScanInputs, SelectiveScanOutput, selective_scan};
pub use squared_norm::squared_norm;
pub use ssd::{SsdInputs, SsdOptions, SsdOutput, ssd};
pub use swiglu::swiglu;
pub use verify::{Kept, VerifyState, verify};
pub use weigh_drafts::{WeighDraftsInputs, weigh_drafts};
