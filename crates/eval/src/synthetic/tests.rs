use std::collections::HashSet;

use super::words::{ANIMALS, COLORS, FOODS, JOBS, NAMES, OBJECTS, PLACES};
use super::*;

fn value_words(text: &str) -> Vec<String> {
    text.split(|symbol: char| !symbol.is_alphanumeric())
        .filter(|word| !word.is_empty() && !["The", "answer", "list", "is", "a"].contains(word))
        .map(str::to_owned)
        .collect()
}

#[test]
fn word_lists_hold_no_word_twice() {
    let lists: [&[&str]; 7] = [&NAMES, &OBJECTS, &ANIMALS, &PLACES, &COLORS, &FOODS, &JOBS];
    for list in lists {
        let unique: HashSet<_> = list.iter().collect();
        assert_eq!(unique.len(), list.len(), "a word twice in {list:?}");
    }
    let vowel = |word: &&&str| word.starts_with(['a', 'e', 'i', 'o', 'u']);
    assert_eq!(OBJECTS.iter().chain(&JOBS).find(vowel), None, "takes `an`");
}

#[test]
fn same_arguments_give_the_same_task() {
    let mix = TaskMix::default();
    assert_eq!(tasks(42, 50, &mix), tasks(42, 50, &mix));
    assert_ne!(task(42, 3, &mix), task(43, 3, &mix));
    assert_ne!(task(42, 3, &mix), task(42, 4, &mix));
}

#[test]
fn answer_and_distractor_stand_in_the_prompt_and_differ() {
    for task in tasks(
        1,
        3000,
        &TaskMix {
            max_pairs: 12,
            ..TaskMix::default()
        },
    ) {
        assert_ne!(task.answer, task.distractor, "{task:?}");
        let prompt = value_words(&task.prompt);
        for word in value_words(&task.answer)
            .iter()
            .chain(&value_words(&task.distractor))
        {
            let stem = word.trim_end_matches('s');
            assert!(
                prompt
                    .iter()
                    .any(|other| other == word || other.trim_end_matches('s') == stem),
                "`{word}` is not in {task:?}"
            );
        }
        assert!(task.prompt.is_ascii() && task.answer.ends_with('.'));
    }
}

#[test]
fn training_and_held_out_tasks_never_overlap() {
    // Two-word lists are so few that independent draws would meet.
    let mix = TaskMix::only(TaskKind::Copy, 2);
    let train: HashSet<_> = tasks(1, 20_000, &mix)
        .into_iter()
        .map(|task| task.prompt)
        .collect();
    let held_out = tasks(1, 2000, &mix.held_out());
    assert!(held_out.iter().all(|task| !train.contains(&task.prompt)));
}

#[test]
fn kinds_and_lengths_follow_the_mix() {
    let mix = TaskMix {
        recall: 2.0,
        copy: 1.0,
        lookup: 1.0,
        ..TaskMix::default()
    };
    for mix in [mix.clone(), mix.held_out()] {
        let drawn = tasks(9, 4000, &mix);
        let share = |kind| drawn.iter().filter(|task| task.kind == kind).count() as f64 / 4000.0;
        assert!((share(TaskKind::Recall) - 0.5).abs() < 0.03);
        assert!((share(TaskKind::Copy) - 0.25).abs() < 0.03);
        let lengths: HashSet<_> = drawn.iter().map(|task| task.n_pairs).collect();
        assert_eq!(lengths, (2..=6).collect());
    }
}

#[test]
fn four_pairs_take_about_forty_words() {
    for kind in TaskKind::ALL {
        for task in tasks(5, 200, &TaskMix::only(kind, 4)) {
            assert!(task.prompt.split_whitespace().count() <= 40, "{task:?}");
        }
    }
}

#[test]
fn thirty_two_pairs_do_not_exhaust_a_list() {
    for kind in TaskKind::ALL {
        for task in tasks(5, 200, &TaskMix::only(kind, 99)) {
            assert_eq!(task.n_pairs, 32);
        }
    }
}

#[test]
fn tasks_of_a_seed_stay_what_they_are() {
    let shown: Vec<String> = TaskKind::ALL
        .into_iter()
        .flat_map(|kind| tasks(42, 2, &TaskMix::only(kind, 4)))
        .map(|task| {
            format!(
                "{}\n  + {}\n  - {}",
                task.prompt, task.answer, task.distractor
            )
        })
        .collect();
    insta::assert_snapshot!(shown.join("\n"));
}
