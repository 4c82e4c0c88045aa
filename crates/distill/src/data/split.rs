//! A fixed split into training and held-out records, by record and never by token.

use sha2::{Digest, Sha256};

/// Sorts records by sha256 of `"42:" + id` and cuts: `(training, held out)`.
///
/// The order and the cut depend on the ids alone, so the same records are held out in every run. Records with one id stay
/// together, on one side; `held_out_share` is that of the ids. At least one id is held out when there are two or more.
pub fn split<T>(
    records: Vec<T>,
    held_out_share: f64,
    id: impl Fn(&T) -> String,
) -> (Vec<T>, Vec<T>) {
    let mut keyed: Vec<([u8; 32], T)> = records
        .into_iter()
        .map(|record| (Sha256::digest(format!("42:{}", id(&record))).into(), record))
        .collect();
    keyed.sort_by_key(|(key, _)| *key);
    let starts: Vec<usize> = (0..keyed.len())
        .filter(|at| *at == 0 || keyed[*at].0 != keyed[at - 1].0)
        .collect();
    let count = starts.len();
    let wanted = (count as f64 * held_out_share).round() as usize;
    let held_out = wanted.clamp(usize::from(count > 1), count.saturating_sub(1));
    let cut = starts.get(count - held_out).copied().unwrap_or(keyed.len());
    let rest = keyed.split_off(cut);
    let strip = |keyed: Vec<([u8; 32], T)>| keyed.into_iter().map(|(_, record)| record).collect();
    (strip(keyed), strip(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cut_depends_on_ids_only_and_loses_nothing() {
        let (train, held) = split((0..100).collect(), 0.1, |i: &i32| i.to_string());
        let (train_again, held_again) =
            split((0..100).rev().collect(), 0.1, |i: &i32| i.to_string());
        assert_eq!((&train, &held), (&train_again, &held_again));
        assert_eq!((train.len(), held.len()), (90, 10));
        let mut all = [train, held].concat();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn records_with_one_id_stay_on_one_side_and_do_not_move_the_cut() {
        // 40 ids; the first 20 of them stand for ten records each.
        let ids: Vec<i32> = (0..40)
            .flat_map(|id| vec![id; if id < 20 { 10 } else { 1 }])
            .collect();
        let unique = |mut ids: Vec<i32>| {
            ids.dedup();
            ids
        };
        for share in [0.1, 0.3, 0.5, 0.9] {
            let (train, held) = split(ids.clone(), share, |id| id.to_string());
            assert_eq!(train.len() + held.len(), 220);
            let once = split((0..40).collect(), share, |id| id.to_string());
            assert_eq!((unique(train), unique(held)), once, "{share}");
        }
    }

    #[test]
    fn small_sets_keep_a_record_on_each_side() {
        let sizes = |n: i32| {
            let (train, held) = split((0..n).collect(), 0.1, |i: &i32| i.to_string());
            (train.len(), held.len())
        };
        assert_eq!(
            [sizes(0), sizes(1), sizes(2), sizes(3)],
            [(0, 0), (1, 0), (1, 1), (2, 1)]
        );
    }
}
