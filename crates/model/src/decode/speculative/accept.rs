//! Which drafts are kept (method 5.3): rules on the host, without a model.

/// What a round adds to a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Drafts accepted, from the first on
    pub(super) accepted: usize,
    /// The token after them
    pub(super) token: u32,
}

/// Accepts drafts while they are the most likely token; `best` holds that for each draft's position and the next.
pub(super) fn accept_greedy(drafts: &[u32], best: &[u32]) -> Verdict {
    let pairs = drafts.iter().zip(best);
    let accepted = pairs.take_while(|(draft, best)| draft == best).count();
    Verdict {
        accepted,
        token: best[accepted],
    }
}

/// Accepts each draft with probability `min(1, p / q)` and draws the token after them from what that leaves of `p`, so that tokens
/// are distributed as `p` (Leviathan et al., arXiv 2211.17192).
/// - `verified`: the verifier's distribution at each draft's position and the next
/// - `drafted`: the distribution that each draft was drawn from, or none where drafts are certain
/// - `uniform`: draws from `[0, 1)`
pub(super) fn accept_sampled<P: AsRef<[f32]>>(
    drafts: &[u32],
    drafted: Option<&[P]>,
    verified: &[P],
    uniform: impl FnMut() -> f64,
) -> Verdict {
    accept_by(is_accepted, drafts, drafted, verified, uniform)
}

/// Whether a draft with probability `p` at the verifier and `q` at the drafter is accepted.
pub(super) fn is_accepted(p: f64, q: f64, uniform: f64) -> bool {
    uniform * q < p
}

fn accept_by<P: AsRef<[f32]>>(
    is_accepted: impl Fn(f64, f64, f64) -> bool,
    drafts: &[u32],
    drafted: Option<&[P]>,
    verified: &[P],
    mut uniform: impl FnMut() -> f64,
) -> Verdict {
    for (at, draft) in drafts.iter().enumerate() {
        let id = *draft as usize;
        let p = verified[at].as_ref();
        let q = drafted.map(|drafted| drafted[at].as_ref());
        let q_draft = q.map_or(1.0, |q| f64::from(q[id]));
        if is_accepted(f64::from(p[id]), q_draft, uniform()) {
            continue;
        }
        let residual = |other: usize| match q {
            Some(q) => (f64::from(p[other]) - f64::from(q[other])).max(0.0),
            None if other == id => 0.0,
            None => f64::from(p[other]),
        };
        let token = draw(p.len(), residual, uniform())
            // Nothing is left only where p and q are equal up to rounding.
            .or_else(|| draw(p.len(), |other| f64::from(p[other]), uniform()));
        return Verdict {
            accepted: at,
            token: token.unwrap_or(*draft),
        };
    }
    let p = verified[drafts.len()].as_ref();
    let token = draw(p.len(), |id| f64::from(p[id]), uniform());
    Verdict {
        accepted: drafts.len(),
        token: token.unwrap_or(0),
    }
}

/// A token drawn by `weight`; none if nothing has any.
pub(super) fn draw(vocab: usize, weight: impl Fn(usize) -> f64, uniform: f64) -> Option<u32> {
    let mut left = uniform * (0..vocab).map(&weight).sum::<f64>();
    let mut last = None;
    for id in 0..vocab {
        let weight = weight(id);
        if weight > 0.0 {
            left -= weight;
            last = Some(id as u32);
            if left < 0.0 {
                break;
            }
        }
    }
    last
}

#[cfg(test)]
mod tests;
