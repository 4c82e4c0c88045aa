//! Laws that hold for every operation with a state.

use super::state_space::{Case, Outcome, Path, Reference, TIMED, assert_outcomes_close};

/// Joins outcomes of consecutive steps: timed parts in order, the others summed. The gradient of the
/// initial state is the first one's.
fn join(parts: &[Outcome], batch: usize) -> Outcome {
    let timed = |pick: &dyn Fn(&Outcome) -> &Vec<f32>| -> Vec<f32> {
        let mut joined = Vec::new();
        for row in 0..batch {
            for part in parts {
                let values = pick(part);
                let width = values.len() / batch;
                joined.extend_from_slice(&values[row * width..(row + 1) * width]);
            }
        }
        joined
    };
    let gradients = std::array::from_fn(|index| {
        if TIMED[index] {
            return timed(&|part| &part.gradients[index]);
        }
        if index == 8 {
            return parts[0].gradients[8].clone();
        }
        let mut sum = vec![0.0; parts[0].gradients[index].len()];
        for part in parts {
            for (sum, value) in sum.iter_mut().zip(&part.gradients[index]) {
                *sum += value;
            }
        }
        sum
    });
    Outcome {
        y: timed(&|part| &part.y),
        last_state: parts[parts.len() - 1].last_state.clone(),
        gradients,
    }
}

/// Running two parts with the state carried over equals running the whole.
pub(crate) fn check_split<P: Reference>(case: &Case<P>, at: usize, path: Path) {
    let whole = case.run(path);
    let mut first = case.steps(0..at, !case.operands[8].is_empty());
    let mut second = case.steps(at..case.problem.seq(), true);
    second.operands[8] = first.run(path).last_state;
    let second_outcome = second.run(path);
    first.dlast = second_outcome.gradients[8].clone();
    let joined = join(&[first.run(path), second_outcome], case.problem.batch());
    assert_outcomes_close(&format!("{path:?} split at {at}"), &joined, &whole);
}

/// A row of packed documents equals the documents run alone; only the last sees `dlast`.
pub(crate) fn check_packed<P: Reference>(case: &Case<P>, starts: &[usize], path: Path) {
    let packed = case.clone().with_documents(starts);
    let mut bounds = vec![0];
    bounds.extend(starts.iter().copied().filter(|&start| start > 0));
    bounds.push(case.problem.seq());
    let carries_in = !case.operands[8].is_empty() && !starts.contains(&0);
    let parts: Vec<Outcome> = bounds
        .windows(2)
        .enumerate()
        .map(|(index, bound)| {
            let mut alone = case.steps(bound[0]..bound[1], index == 0 && carries_in);
            if bound[1] != case.problem.seq() {
                alone.dlast.fill(0.0);
            }
            alone.run(path)
        })
        .collect();
    let mut joined = join(&parts, case.problem.batch());
    let got = packed.run(path);
    if joined.gradients[8].is_empty() {
        // The first document starts from zero: nothing reaches the initial state.
        assert!(got.gradients[8].iter().all(|&gradient| gradient == 0.0));
        joined.gradients[8] = got.gradients[8].clone();
    }
    assert_outcomes_close(&format!("{path:?} packed at {starts:?}"), &got, &joined);
}
