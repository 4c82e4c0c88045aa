//! A point that a cache can return to.

use burn::tensor::backend::Backend;

use super::rows::Rows;
use super::window::Window;
use super::{Cache, KvCache, LayerCache, SsmState};

/// The state of a cache at some point. Keys and values are in it only under a sliding window, which may pass them: else those
/// after the point are overwritten.
#[derive(Debug)]
pub struct Mark<B: Backend> {
    rows: Rows,
    ssm_states: Vec<SsmState<B>>,
    windowed: Option<(Window, Vec<KvCache<B>>)>,
}

impl<B: Backend> Cache<B> {
    /// Where the cache is now. While a mark is held, the states of SSM layers are written beside, not over, those marked.
    pub fn mark(&self) -> Mark<B> {
        let ssm_state = |layer: &LayerCache<B>| match layer {
            LayerCache::Attention(_) => None,
            LayerCache::Ssm(state) => Some(state.memory()),
        };
        let kv_cache = |layer: &LayerCache<B>| match layer {
            LayerCache::Attention(cache) => Some(cache.clone()),
            LayerCache::Ssm(_) => None,
        };
        let kv_caches = || self.layers.iter().filter_map(kv_cache).collect();
        Mark {
            windowed: self.window.clone().map(|window| (window, kv_caches())),
            rows: self.rows.clone(),
            ssm_states: self.layers.iter().filter_map(ssm_state).collect(),
        }
    }

    /// Forgets the tokens since `mark`, which this cache gave.
    pub fn return_to(&mut self, mark: Mark<B>) {
        self.rows = mark.rows;
        if let Some((window, kv_caches)) = mark.windowed {
            self.window = Some(window);
            let held = self.layers.iter_mut().filter_map(|layer| match layer {
                LayerCache::Attention(cache) => Some(cache),
                LayerCache::Ssm(_) => None,
            });
            held.zip(kv_caches)
                .for_each(|(cache, earlier)| *cache = earlier);
        }
        let states = self.layers.iter_mut().filter_map(|layer| match layer {
            LayerCache::Attention(_) => None,
            LayerCache::Ssm(state) => Some(state),
        });
        for (state, earlier) in states.zip(mark.ssm_states) {
            state.restore(earlier);
        }
    }
}
