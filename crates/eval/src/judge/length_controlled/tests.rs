use serde_json::Value;

use super::*;

fn golden() -> Value {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/fixtures/chat/length_controlled.json"
    );
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|number| number.as_f64().unwrap())
        .collect()
}

fn comparisons(case: &Value) -> Vec<Comparison> {
    let both = numbers(&case["preference"])
        .into_iter()
        .zip(numbers(&case["longer"]));
    both.enumerate()
        .map(|(question, (preference, longer))| Comparison {
            question,
            preference,
            longer,
            difficulty: None,
        })
        .collect()
}

fn assert_near(found: f64, expected: f64, what: &str) {
    assert!(
        (found - expected).abs() < 1e-7,
        "{what}: {found}, expected {expected}"
    );
}

#[test]
fn win_rates_weights_and_errors_are_those_of_scikit_learn() {
    let golden = golden();
    let difficulty = numbers(&golden["difficulty"]);
    for case in golden["cases"].as_array().unwrap() {
        let mut comparisons = comparisons(case);
        let found = length_controlled(&comparisons).unwrap();
        let expected = &case["without"];
        let weights = numbers(&expected["weights"]);
        assert_near(found.win, expected["win"].as_f64().unwrap(), "win");
        assert_near(
            found.standard_error,
            expected["standard_error"].as_f64().unwrap(),
            "error",
        );
        assert_near(found.model, weights[0], "model");
        assert_near(found.length, weights[1], "length");
        assert_eq!((found.difficulty, found.count), (None, 60));

        for (one, difficulty) in comparisons.iter_mut().zip(&difficulty) {
            one.difficulty = Some(*difficulty);
        }
        let found = length_controlled(&comparisons).unwrap();
        let expected = &case["with"];
        assert_near(found.win, expected["win"].as_f64().unwrap(), "win");
        assert_near(
            found.standard_error,
            expected["standard_error"].as_f64().unwrap(),
            "error",
        );
        assert_near(
            found.difficulty.unwrap(),
            numbers(&expected["weights"])[2],
            "difficulty",
        );
    }
}

#[test]
fn difficulties_of_several_models_are_those_of_scikit_learn() {
    let golden = golden();
    let models: Vec<Vec<Comparison>> = golden["cases"]
        .as_array()
        .unwrap()
        .iter()
        .map(comparisons)
        .collect();
    let found = difficulties(&models, 60).unwrap();
    for (index, (found, expected)) in found
        .iter()
        .zip(numbers(&golden["difficulties"]))
        .enumerate()
    {
        assert_near(*found, expected, &format!("question {index}"));
    }
    assert_eq!(difficulties(&models[..1], 60), None);
}

#[test]
fn a_win_by_length_alone_is_none() {
    let of = |index: u32| {
        let longer = if index.is_multiple_of(2) {
            500.0
        } else {
            -500.0
        };
        Comparison {
            question: 0,
            preference: f64::from(u8::from(longer > 0.0)),
            longer,
            difficulty: None,
        }
    };
    let found = length_controlled(&(0..100).map(of).collect::<Vec<_>>()).unwrap();
    assert!(
        (found.win - 0.5).abs() < 1e-9 && found.length > 5.0,
        "{found:?}"
    );
}

#[test]
fn equal_lengths_leave_the_plain_win_rate() {
    let of = |index: u32| Comparison {
        question: 0,
        preference: f64::from(u8::from(index.is_multiple_of(4))),
        longer: 20.0,
        difficulty: None,
    };
    let found = length_controlled(&(0..400).map(of).collect::<Vec<_>>()).unwrap();
    // The ridge pulls a logit of -1.1 by 1e-4.
    assert!((found.win - 0.25).abs() < 1e-4, "{found:?}");
    // A share of one quarter in 400: sqrt(0.25 * 0.75 / 400).
    assert!((found.standard_error - 0.021_65).abs() < 1e-4, "{found:?}");
    assert_eq!(length_controlled(&[]), None);
}
