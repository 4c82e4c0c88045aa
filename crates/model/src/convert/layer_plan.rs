//! Which layers keep attention (method 2.7).

use serde::{Deserialize, Serialize};

use crate::error::ModelError;

/// Where the kept layers stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Spread evenly, the last layer among them (the paper)
    Interleaved,
    /// The same number, as one block at the start
    KeptFirst,
    /// The same number, as one block at the end
    KeptLast,
    /// The same number, as one block in the middle
    KeptMiddle,
    /// The same number, half of them at each end
    KeptEnds,
}

/// The layers that keep attention in a model of `n_layers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerPlan {
    /// 0-based indices, ascending
    pub attn_layers: Vec<usize>,
    /// Layers of the model
    pub n_layers: usize,
}

/// How far a true ratio may be from the one asked for: halves of odd counts round up.
const CLOSE: f64 = 0.5;

impl LayerPlan {
    /// The kept layers for an attention ratio of 1, 3/4, 1/2, 1/4, ... or 0.
    ///
    /// Sets are nested: what a smaller ratio keeps, a larger one keeps too. When a depth cannot be halved evenly the true
    /// ratio is a little above the one asked for; [`attention_ratio`](Self::attention_ratio) tells it.
    ///
    /// # Errors
    /// [`ModelError::UnreachableRatio`] with the ratios that can be had.
    pub fn for_ratio(n_layers: usize, ratio: f64, layout: Layout) -> Result<Self, ModelError> {
        let kept = reachable(n_layers)
            .into_iter()
            .find(|(nominal, _)| (nominal - ratio).abs() < 1e-9)
            .map(|(_, kept)| kept)
            .ok_or_else(|| ModelError::UnreachableRatio {
                ratio,
                n_layers,
                reachable: reachable(n_layers)
                    .into_iter()
                    .map(|(nominal, _)| nominal)
                    .collect(),
            })?;
        let count = kept.len();
        let attn_layers = match layout {
            Layout::Interleaved => kept,
            Layout::KeptFirst => (0..count).collect(),
            Layout::KeptLast => (n_layers - count..n_layers).collect(),
            Layout::KeptMiddle => {
                let first = (n_layers - count) / 2;
                (first..first + count).collect()
            }
            Layout::KeptEnds => {
                let at_end = n_layers - count.div_ceil(2);
                (0..count / 2).chain(at_end..n_layers).collect()
            }
        };
        Ok(Self {
            attn_layers,
            n_layers,
        })
    }

    /// As many layers as [`for_ratio`](Self::for_ratio) keeps, from the front of `order`, which lists layers from the most
    /// needed to the least: sets are nested here too.
    ///
    /// # Errors
    /// As there, and [`ModelError::LayerOrder`] if `order` is too short, names a layer twice or one that there is not.
    pub fn ranked(n_layers: usize, ratio: f64, order: &[usize]) -> Result<Self, ModelError> {
        let count = Self::uniform(n_layers, ratio)?.attn_layers.len();
        let mut attn_layers: Vec<usize> = order.iter().copied().take(count).collect();
        attn_layers.sort_unstable();
        let is_listed_once = attn_layers.windows(2).all(|pair| pair[0] < pair[1]);
        let exist = attn_layers.iter().all(|layer_idx| *layer_idx < n_layers);
        if attn_layers.len() < count || !is_listed_once || !exist {
            return Err(ModelError::LayerOrder {
                order: order.to_vec(),
                count,
                n_layers,
            });
        }
        Ok(Self {
            attn_layers,
            n_layers,
        })
    }

    /// [`for_ratio`](Self::for_ratio) with the paper's interleaved layout.
    ///
    /// # Errors
    /// As there.
    pub fn uniform(n_layers: usize, ratio: f64) -> Result<Self, ModelError> {
        Self::for_ratio(n_layers, ratio, Layout::Interleaved)
    }

    /// Kept attention layers / all layers.
    pub fn attention_ratio(&self) -> f64 {
        self.attn_layers.len() as f64 / self.n_layers as f64
    }

    /// The layers that become SSMs, ascending.
    pub fn ssm_layers(&self) -> Vec<usize> {
        (0..self.n_layers)
            .filter(|layer_idx| !self.attn_layers.contains(layer_idx))
            .collect()
    }
}

/// Nominal ratios, highest first, with their interleaved kept layers.
fn reachable(n_layers: usize) -> Vec<(f64, Vec<usize>)> {
    let mut ratios = vec![(1.0, (0..n_layers).collect::<Vec<usize>>())];
    if n_layers > 1 {
        let three_quarters: Vec<usize> = (0..n_layers).filter(|idx| idx % 4 != 0).collect();
        // With an even index as last layer of an odd depth the halves would keep it, but not this set.
        if n_layers >= 4 && !(n_layers - 1).is_multiple_of(4) {
            ratios.push((0.75, three_quarters));
        }
        let mut kept: Vec<usize> = (0..n_layers)
            .filter(|idx| idx % 2 == 1 || *idx + 1 == n_layers)
            .collect();
        let mut nominal = 0.5;
        loop {
            let exact = nominal * n_layers as f64;
            if (kept.len() as f64 - exact).abs() > CLOSE || exact < CLOSE {
                break;
            }
            ratios.push((nominal, kept.clone()));
            if kept.len() == 1 {
                break;
            }
            kept = halve(&kept);
            nominal /= 2.0;
        }
    }
    ratios.push((0.0, Vec::new()));
    ratios
}

/// Every second entry, counted so that the last one stays (method 2.7).
fn halve(kept: &[usize]) -> Vec<usize> {
    let length = kept.len();
    let count = length.div_ceil(2);
    (0..count)
        .map(|position| kept[(position + 1) * length / count - 1])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(n_layers: usize, ratio: f64) -> Vec<usize> {
        LayerPlan::uniform(n_layers, ratio).unwrap().attn_layers
    }

    #[test]
    fn thirty_two_layers_match_the_published_sets() {
        let where_ = |keep: fn(usize) -> bool| (0..32).filter(|idx| keep(*idx)).collect::<Vec<_>>();
        assert_eq!(kept(32, 0.75), where_(|idx| idx % 4 != 0));
        assert_eq!(kept(32, 0.5), where_(|idx| idx % 2 == 1));
        assert_eq!(kept(32, 0.25), where_(|idx| idx % 4 == 3));
        assert_eq!(kept(32, 0.125), where_(|idx| idx % 8 == 7));
        assert_eq!(kept(32, 0.0625), [15, 31]);
        assert!(kept(32, 0.0).is_empty());
    }

    #[test]
    fn thirty_layers_round_up() {
        assert_eq!(
            kept(30, 0.5),
            (0..15).map(|idx| 2 * idx + 1).collect::<Vec<_>>()
        );
        assert_eq!(kept(30, 0.25), [1, 5, 9, 13, 17, 21, 25, 29]);
        assert_eq!(kept(30, 0.125), [5, 13, 21, 29]);
        assert_eq!(
            LayerPlan::uniform(30, 0.75).unwrap().ssm_layers(),
            [0, 4, 8, 12, 16, 20, 24, 28]
        );
    }

    #[test]
    fn twenty_eight_layers_follow_the_halving_rule() {
        assert_eq!(kept(28, 0.25), [3, 7, 11, 15, 19, 23, 27]);
        assert_eq!(kept(28, 0.125), [3, 11, 19, 27]);
    }

    #[test]
    fn sets_are_nested_and_keep_the_last_layer() {
        for n_layers in 1..=64 {
            let sets = reachable(n_layers);
            for pair in sets.windows(2) {
                let (_, larger) = &pair[0];
                let (ratio, smaller) = &pair[1];
                assert!(
                    smaller.iter().all(|idx| larger.contains(idx)),
                    "{n_layers} layers at {ratio}"
                );
                if *ratio > 0.0 {
                    assert_eq!(
                        smaller.last(),
                        Some(&(n_layers - 1)),
                        "{n_layers} at {ratio}"
                    );
                }
            }
        }
    }

    #[test]
    fn blocks_keep_as_many_layers() {
        let first = LayerPlan::for_ratio(8, 0.25, Layout::KeptFirst).unwrap();
        assert_eq!(first.attn_layers, [0, 1]);
        let last = LayerPlan::for_ratio(8, 0.25, Layout::KeptLast).unwrap();
        assert_eq!(last.attn_layers, [6, 7]);
        let middle = LayerPlan::for_ratio(8, 0.25, Layout::KeptMiddle).unwrap();
        assert_eq!(middle.attn_layers, [3, 4]);
        let ends = LayerPlan::for_ratio(8, 0.25, Layout::KeptEnds).unwrap();
        assert_eq!(ends.attn_layers, [0, 7]);
    }

    #[test]
    fn blocks_of_smaller_ratios_stand_in_those_of_larger_ones() {
        for layout in [
            Layout::KeptFirst,
            Layout::KeptLast,
            Layout::KeptMiddle,
            Layout::KeptEnds,
        ] {
            for n_layers in 1..=33 {
                let sets = reachable(n_layers).into_iter().map(|(ratio, _)| {
                    LayerPlan::for_ratio(n_layers, ratio, layout)
                        .unwrap()
                        .attn_layers
                });
                let sets: Vec<_> = sets.collect();
                for pair in sets.windows(2) {
                    let is_nested = pair[1].iter().all(|layer_idx| pair[0].contains(layer_idx));
                    assert!(is_nested, "{layout:?}, {n_layers} layers: {pair:?}");
                }
            }
        }
    }

    #[test]
    fn a_ranking_is_cut_where_the_ratio_says() {
        let order = [7, 0, 3, 5];
        let kept = |ratio| LayerPlan::ranked(8, ratio, &order).map(|plan| plan.attn_layers);
        assert_eq!(kept(0.5).unwrap(), [0, 3, 5, 7]);
        assert_eq!(kept(0.25).unwrap(), [0, 7]);
        assert!(kept(0.0).unwrap().is_empty());
        let error = kept(0.75).unwrap_err().to_string();
        assert!(
            error.contains("[7, 0, 3, 5]") && error.contains("6"),
            "{error}"
        );
        assert!(LayerPlan::ranked(8, 0.25, &[3, 3]).is_err());
        assert!(LayerPlan::ranked(8, 0.25, &[3, 8]).is_err());
    }

    #[test]
    fn an_unreachable_ratio_names_those_in_reach() {
        let error = LayerPlan::uniform(4, 0.125).unwrap_err().to_string();
        assert!(
            error.contains("0.125") && error.contains("1, 0.75, 0.5, 0.25, 0"),
            "{error}"
        );
        assert!(LayerPlan::uniform(32, 0.3).is_err());
    }
}
