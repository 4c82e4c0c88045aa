//! A point that a cache can return to.

use burn::tensor::backend::Backend;

use super::rows::Rows;
use super::{Cache, LayerCache, SsmState};

/// The state of a cache at some point. Keys and values are not in it: those after the point are overwritten.
#[derive(Debug)]
pub struct Mark<B: Backend> {
    rows: Rows,
    ssm_states: Vec<SsmState<B>>,
}

impl<B: Backend> Cache<B> {
    /// Where the cache is now. While a mark is held, the states of SSM layers are written beside, not over, those marked.
    pub fn mark(&self) -> Mark<B> {
        let ssm_state = |layer: &LayerCache<B>| match layer {
            LayerCache::Attention(_) => None,
            LayerCache::Ssm(state) => Some(state.memory()),
        };
        Mark {
            rows: self.rows.clone(),
            ssm_states: self.layers.iter().filter_map(ssm_state).collect(),
        }
    }

    /// Forgets the tokens since `mark`, which this cache gave.
    pub fn return_to(&mut self, mark: Mark<B>) {
        self.rows = mark.rows;
        let states = self.layers.iter_mut().filter_map(|layer| match layer {
            LayerCache::Attention(_) => None,
            LayerCache::Ssm(state) => Some(state),
        });
        for (state, earlier) in states.zip(mark.ssm_states) {
            state.restore(earlier);
        }
    }
}
