use burn::backend::Flex;

use super::*;
use crate::tiny_model::tiny_model;
use crate::token_scores::logits_scores;

type B = Flex;

const VOCAB: usize = 97;

fn tiny() -> HybridModel<B> {
    tiny_model(VOCAB)
}

fn ids(count: usize) -> Vec<u32> {
    (0..count)
        .map(|index| ((index * index + 3 * index + 1) % VOCAB) as u32)
        .collect()
}

fn nlls_of_logits(logits: Tensor<B, 2>, targets: &[u32]) -> Vec<f64> {
    let scores = logits_scores(logits, targets);
    scores.iter().map(|score| score.nll).collect()
}

/// The plain definition, in f64 from the logits of one sequence.
fn reference(model: &HybridModel<B>, ids: &[u32]) -> Vec<f64> {
    let data: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
    let tokens = Tensor::from_data(TensorData::new(data, [1, ids.len()]), &Default::default());
    let logits: Vec<f64> = model.forward(tokens).into_data().iter::<f64>().collect();
    let nll = |(row, target): (&[f64], &u32)| {
        row.iter().map(|logit| logit.exp()).sum::<f64>().ln() - row[*target as usize]
    };
    logits.chunks(VOCAB).zip(&ids[1..]).map(nll).collect()
}

#[test]
fn equal_logits_give_the_vocabulary_size_as_perplexity() {
    for vocab in [7, 97, 2048, 49_152] {
        let logits = Tensor::<B, 2>::zeros([3, vocab], &Default::default()) + 80.0;
        let nlls = nlls_of_logits(logits, &[0, 1, 6]);
        let nll: Nll = Nll {
            total: nlls.iter().sum(),
            scored_tokens: 3,
        };
        assert!(
            (nll.perplexity() / vocab as f64 - 1.0).abs() < 1e-6,
            "{}",
            nll.perplexity()
        );
    }
}

#[test]
fn large_logits_do_not_overflow() {
    let logits = Tensor::<B, 2>::from_floats([[1e4, 0.0], [-1e4, -1e4]], &Default::default());
    let nlls = nlls_of_logits(logits, &[1, 0]);
    assert!(
        (nlls[0] - 1e4).abs() < 1e-3 && (nlls[1] - 2f64.ln()).abs() < 1e-6,
        "{nlls:?}"
    );
}

#[test]
fn masked_examples_score_only_what_is_marked() {
    let model = tiny();
    let (long, short) = (ids(23), ids(9));
    let long_mask: Vec<bool> = (0..23).map(|t| t >= 15).collect();
    let short_mask: Vec<bool> = (0..9).map(|t| t < 4).collect();
    let none = vec![false; 9];
    let examples = [
        MaskedExample {
            ids: &long,
            is_scored: &long_mask,
        },
        MaskedExample {
            ids: &short,
            is_scored: &none,
        },
        MaskedExample {
            ids: &short,
            is_scored: &short_mask,
        },
    ];
    let got = masked_examples(&model, &examples, 8).unwrap();
    let expected: f64 = reference(&model, &long)[14..].iter().sum();
    assert!(
        (got[0].total - expected).abs() < 1e-3,
        "{got:?} against {expected}"
    );
    assert_eq!(got[1], Nll::default());
    let expected: f64 = reference(&model, &short)[..3].iter().sum();
    assert!(
        (got[2].total - expected).abs() < 1e-3,
        "{got:?} against {expected}"
    );
    assert_eq!((got[0].scored_tokens, got[2].scored_tokens), (8, 3));
}

#[test]
fn windows_run_alone_and_skip_their_first_token() {
    let model = tiny();
    let ids = ids(23);
    let mut seen = 0;
    let got = windows(&model, &ids, 10, |done| seen = done).unwrap();
    assert_eq!(seen, 3);
    assert_eq!(
        got.windows
            .iter()
            .map(|nll| nll.scored_tokens)
            .collect::<Vec<_>>(),
        [9, 9, 2]
    );
    for (nll, window) in got.windows.iter().zip(ids.chunks(10)) {
        let expected: f64 = reference(&model, window).iter().sum();
        assert!(
            (nll.total - expected).abs() < 1e-3,
            "{nll:?} against {expected}"
        );
    }
    assert_eq!(got.total().scored_tokens, 20);
}

#[test]
fn long_windows_in_pieces_equal_one_pass() {
    let model = tiny();
    let window = PIECE_TOKENS + 130;
    let ids = ids(2 * window + 40);
    let got = windows(&model, &ids, window, |_| ()).unwrap();
    assert_eq!(got.windows.len(), 3);
    for (nll, window) in got.windows.iter().zip(ids.chunks(window)) {
        let expected = reference(&model, window);
        assert_eq!(nll.scored_tokens, expected.len());
        let expected = expected.iter().sum::<f64>() / expected.len() as f64;
        assert!(
            (nll.mean() - expected).abs() < 1e-5,
            "{nll:?} against {expected}"
        );
    }
}

#[test]
fn unusable_input_is_refused() {
    let model = tiny();
    assert!(matches!(
        windows(&model, &ids(9), 1, |_| ()),
        Err(EvalError::Window { found: 1 })
    ));
    assert!(matches!(
        windows(&model, &[3], 4, |_| ()),
        Err(EvalError::Empty { .. })
    ));
    let wrong = windows(&model, &[1, 2, 97, 3], 4, |_| ());
    assert!(matches!(
        wrong,
        Err(EvalError::TokenOutOfRange {
            index: 2,
            id: 97,
            ..
        })
    ));
    let example = MaskedExample {
        ids: &[1, 2],
        is_scored: &[true],
    };
    assert!(matches!(
        masked_examples(&model, &[example], 4),
        Err(EvalError::MaskLength { .. })
    ));
    let unscored = MaskedExample {
        ids: &[1, 2],
        is_scored: &[true, false],
    };
    assert!(matches!(
        masked_examples(&model, &[unscored], 4),
        Err(EvalError::Empty { .. })
    ));
}

#[test]
fn ends_of_windows_are_the_last_tokens_after_all_the_others() {
    let model = tiny();
    let ids = ids(70);
    let found = window_ends(&model, &ids, 30, [8, 9]).unwrap();
    assert_eq!(found.len(), 2, "the rest is no whole window");
    for (found, window) in found.iter().zip(ids.chunks(30)) {
        let expected: f64 = reference(&model, window)[21..].iter().sum();
        assert_eq!(found.scored_tokens, 8);
        assert!(
            (found.total - expected).abs() < 1e-3,
            "{found:?} {expected}"
        );
    }
    let error = window_ends(&model, &ids, 8, [8, 1]).unwrap_err();
    assert!(matches!(error, EvalError::Window { found: 8 }));
    let error = window_ends(&model, &ids, 80, [8, 1]).unwrap_err();
    assert!(matches!(error, EvalError::Empty { .. }));
}
