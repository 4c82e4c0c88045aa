use super::super::TASKS;
use super::*;
use crate::tiny_model::tiny_model;

fn options(n_shot: usize) -> ZeroShotOptions {
    ZeroShotOptions {
        n_shot,
        max_context: 200,
        first_token: None,
        limits: BatchLimits::HOST,
    }
}

fn task(name: &str) -> &'static Task {
    TASKS.iter().find(|task| task.name == name).unwrap()
}

fn likelihoods(totals: &[f64], gold: Gold) -> ItemScore {
    let answers = ["a", "bb", "cccc", "d"];
    let item = Item::of("q", answers.into_iter().take(totals.len()), gold);
    let answers: Vec<LogLikelihood> = totals
        .iter()
        .map(|total| LogLikelihood {
            total: *total,
            tokens: 1,
            is_greedy: *total > -1.0,
            truncated: 0,
        })
        .collect();
    item_score(&item, &answers)
}

#[test]
fn likelihood_is_divided_by_bytes_for_acc_norm_alone() {
    let score = likelihoods(&[-2.0, -3.0, -4.0], Gold::One(2));
    assert_eq!((score.chosen, score.chosen_norm), (0, 2));
    assert!(!score.is_right());
    let values = [Metric::Acc, Metric::AccNorm]
        .map(|metric| MetricValue::of(metric, &[], std::slice::from_ref(&score)).value);
    assert_eq!(values, [0.0, 1.0]);
}

#[test]
fn mc2_is_the_share_of_the_true_answers() {
    let truths = Gold::Truths(vec![true, false, true]);
    let totals = [
        0.5_f64.ln() - 300.0,
        0.25_f64.ln() - 300.0,
        0.25_f64.ln() - 300.0,
    ];
    let value = MetricValue::of(Metric::Mc2, &[], &[likelihoods(&totals, truths)]);
    assert!((value.value - 0.75).abs() < 1e-9, "{value:?}");
}

#[test]
fn lambada_has_perplexity_of_answers_and_greedy_accuracy() {
    let scores = [-0.5, -1.5].map(|total| likelihoods(&[total], Gold::Greedy));
    let perplexity = MetricValue::of(Metric::Perplexity, &[], &scores);
    assert!((perplexity.value - 1f64.exp()).abs() < 1e-12);
    // Deviation 1/sqrt(2) by the root of 2, times the value.
    assert!((perplexity.standard_error - 0.5 * 1f64.exp()).abs() < 1e-12);
    assert_eq!(MetricValue::of(Metric::Acc, &[], &scores).value, 0.5);
}

#[test]
fn groups_count_alike() {
    let item = |group: &str| Item {
        group: Some(group.into()),
        ..Item::of("q", ["a", "bb"], Gold::One(0))
    };
    let items = [item("x"), item("x"), item("x"), item("y")];
    let right = likelihoods(&[-1.0, -2.0], Gold::One(0));
    let wrong = likelihoods(&[-2.0, -1.0], Gold::One(0));
    let scores = [right.clone(), wrong.clone(), wrong.clone(), right];
    let value = MetricValue::of(Metric::AccGroups, &items, &scores).value;
    assert!((value - (1.0 / 3.0 + 1.0) / 2.0).abs() < 1e-12);
    assert_eq!(MetricValue::of(Metric::Acc, &items, &scores).value, 0.5);
}

#[test]
fn examples_stand_before_the_question_and_are_never_the_question() {
    let text = "Question: Answer: How many legs has a dog four cat two bird one three";
    let tokenizer = Tokenizer::train_bpe([text], 300, &[]).unwrap();
    let model = tiny_model(tokenizer.vocab_size());
    let item = |animal: &str| {
        let context = format!("Question: How many legs has a {animal}?\nAnswer:");
        Item::of(context, ["four", "two"], Gold::One(0))
    };
    let items = [item("dog"), item("cat"), item("bird")];
    let arc = task("arc_easy");
    let ask = |n_shot| {
        score(
            arc,
            [&items, &items],
            &model,
            &tokenizer,
            options(n_shot),
            |_| (),
        )
    };
    let before = shots(arc, &items[0], &items, 2).unwrap();
    assert_eq!(before.matches("dog").count(), 0);
    assert!(before.ends_with("Question: How many legs has a bird?\nAnswer: four\n\n"));
    let (zero, one) = (ask(0).unwrap(), ask(1).unwrap());
    assert_eq!((zero.count, one.n_shot, zero.truncated), (3, 1, 0));
    assert_ne!(zero.prompt_sha256, one.prompt_sha256);
    assert_ne!(zero.items, one.items);
    assert_eq!(zero, ask(0).unwrap());
    assert_eq!(
        ask(3).unwrap_err().to_string(),
        "task `arc_easy`: 2 examples, expected 3 before each question"
    );
    // A prompt that does not fit is counted; an answer that does not is an error with the item's number.
    let short = |max_context| {
        let options = ZeroShotOptions {
            max_context,
            ..options(0)
        };
        score(arc, [&items, &[]], &model, &tokenizer, options, |_| ())
    };
    assert_eq!(short(8).unwrap().truncated, 3);
    let long = [
        item("dog"),
        Item::of("Question", ["four ".repeat(9), "two".into()], Gold::One(0)),
    ];
    let options = ZeroShotOptions {
        max_context: 5,
        ..options(0)
    };
    let error = score(arc, [&long, &[]], &model, &tokenizer, options, |_| ()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "task `arc_easy`: item 2: its continuation is longer than the context of the model"
    );
}
