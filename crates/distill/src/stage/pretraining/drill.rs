//! Recall tasks as longer conversations: every other pair of the list is asked for as well.
//!
//! One list then gives as many recalled values as it has pairs, so that recall is learnt from far fewer rows. Half of the
//! further answers repeat the key before the value, which is a plain copy and learnt first.

use eval::synthetic::{SyntheticTask, TaskKind};
use model::{Message, Role};
use rand::{Rng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::data::Chat;

/// The conversation of a recall task with a question for each other pair, in random order; `None` for another kind of task.
pub(super) fn drill(task: &SyntheticTask, rng: &mut ChaCha8Rng) -> Option<Chat> {
    if task.kind != TaskKind::Recall {
        return None;
    }
    // "OPENING: key: value, key: value. QUESTION"
    let (list, question) = task.prompt.rsplit_once(". ")?;
    let (_, list) = list.split_once(": ")?;
    let pairs: Vec<(&str, &str)> = list
        .split(", ")
        .map(|pair| pair.split_once(": "))
        .collect::<Option<_>>()?;
    let ends = |text: &str, key: &str| text.trim_end_matches('?').rsplit(' ').next() == Some(key);
    let (asked, value) = *pairs.iter().find(|(key, _)| ends(question, key))?;
    let mut others: Vec<_> = pairs.into_iter().filter(|(key, _)| *key != asked).collect();
    others.shuffle(rng);
    let mut messages = Chat::from_task(task).messages;
    for (key, other) in others {
        let (question, answer) = if rng.random_bool(0.5) {
            let question = question.replacen(asked, key, 1);
            (question, task.answer.replacen(value, other, 1))
        } else {
            let question = format!("Say the pair of {key}.");
            (question, format!("The pair is {key}: {other}."))
        };
        messages.push(Message::new(Role::User, question));
        messages.push(Message::new(Role::Assistant, answer));
    }
    Some(Chat {
        id: task.prompt.clone(),
        messages,
    })
}

#[cfg(test)]
mod tests {
    use eval::synthetic::{TaskMix, task};
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn every_pair_is_asked_for_once_and_answered_with_its_value() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for index in 0..200 {
            let task = task(4, index, &TaskMix::only(TaskKind::Recall, 5));
            let chat = drill(&task, &mut rng).expect("a recall task");
            assert_eq!(chat.messages.len(), 10);
            let mut answers = std::collections::HashSet::new();
            for turn in chat.messages.chunks(2) {
                let question = turn[0].content.rsplit(". ").next().expect("a question");
                let key = question
                    .trim_end_matches(['?', '.'])
                    .rsplit(' ')
                    .next()
                    .expect("a key");
                let value = turn[1]
                    .content
                    .trim_end_matches('.')
                    .rsplit(' ')
                    .next()
                    .expect("a value");
                assert!(task.prompt.contains(&format!("{key}: {value}")), "{chat:?}");
                answers.insert(value);
            }
            assert_eq!(answers.len(), 5);
        }
    }

    #[test]
    fn other_tasks_are_left_alone() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        assert_eq!(
            drill(&task(4, 0, &TaskMix::only(TaskKind::Copy, 5)), &mut rng),
            None
        );
    }
}
