//! LibTorch: the references, as torch runs them.

use crate::backend::SsmBackend;
use burn_tch::{LibTorch, TchElement};

impl<E: TchElement> SsmBackend for LibTorch<E> {}
