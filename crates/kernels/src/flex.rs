//! The CPU backend.

use crate::backend::SsmBackend;
use burn_flex::Flex;

impl SsmBackend for Flex {}
