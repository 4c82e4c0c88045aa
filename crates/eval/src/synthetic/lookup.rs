//! Look-up: a short passage about people and things, then one of its facts.
use rand::seq::SliceRandom;
use rand_chacha::ChaCha12Rng;

use super::words::{COLORS, FOODS, JOBS, NAMES, OBJECTS, PLACES};
use super::{SyntheticTask, TaskKind, distinct, two_of};

/// One kind of fact. `S` stands for the subject, `V` for the value.
struct Relation {
    subjects: &'static [&'static str],
    values: &'static [&'static str],
    fact: &'static str,
    question: &'static str,
}

const RELATIONS: [Relation; 5] = [
    Relation {
        subjects: &NAMES,
        values: &PLACES,
        fact: "S lives in V.",
        question: "Where does S live?",
    },
    Relation {
        subjects: &NAMES,
        values: &OBJECTS,
        fact: "S has a V.",
        question: "What does S have?",
    },
    Relation {
        subjects: &NAMES,
        values: &FOODS,
        fact: "S likes V.",
        question: "What does S like?",
    },
    Relation {
        subjects: &NAMES,
        values: &JOBS,
        fact: "S works as a V.",
        question: "What does S work as?",
    },
    Relation {
        subjects: &OBJECTS,
        values: &COLORS,
        fact: "The S is V.",
        question: "What color is the S?",
    },
];

impl Relation {
    fn fact(&self, subject: &str, value: &str) -> String {
        // One pass over the template: a subject that held a `V` would spoil a second one.
        let mut text = String::new();
        for symbol in self.fact.chars() {
            match symbol {
                'S' => text.push_str(subject),
                'V' => text.push_str(value),
                other => text.push(other),
            }
        }
        text
    }
}

/// `n_facts` facts, at least half of them of the kind that is asked for, so that a wrong value of that kind is there.
///
/// The distractor gives another subject's value. The other facts are of one other kind, about the same people where
/// the kind allows.
pub(super) fn draw(n_facts: usize, rng: &mut ChaCha12Rng) -> SyntheticTask {
    let (asked_relation, other_relation) = two_of(RELATIONS.len(), rng);
    let (asked_relation, other_relation) = (&RELATIONS[asked_relation], &RELATIONS[other_relation]);
    // There are 16 colors.
    let n_asked = n_facts.div_ceil(2).clamp(2, 16);
    let n_other = (n_facts - n_asked).min(16);

    let subjects = distinct(asked_relation.subjects, n_asked, rng);
    let values = distinct(asked_relation.values, n_asked, rng);
    // A thing that is both owned and coloured, or two things in one passage, would not make the answer ambiguous, but a
    // value that is also a subject would: leave those out.
    let other_subjects: Vec<&str> =
        if std::ptr::eq(asked_relation.subjects, other_relation.subjects) {
            subjects.clone()
        } else {
            let free: Vec<&str> = other_relation
                .subjects
                .iter()
                .copied()
                .filter(|word| !values.contains(word))
                .collect();
            distinct(&free, n_other, rng)
        };
    let free: Vec<&str> = other_relation
        .values
        .iter()
        .copied()
        .filter(|word| !subjects.contains(word))
        .collect();
    let other_values = distinct(&free, n_other, rng);

    let mut facts: Vec<String> = subjects
        .iter()
        .zip(&values)
        .map(|(subject, value)| asked_relation.fact(subject, value))
        .chain(
            other_subjects
                .iter()
                .zip(&other_values)
                .map(|(subject, value)| other_relation.fact(subject, value)),
        )
        .collect();
    facts.shuffle(rng);

    let (asked, wrong) = two_of(n_asked, rng);
    let question = asked_relation.question.replace('S', subjects[asked]);
    SyntheticTask {
        kind: TaskKind::Lookup,
        prompt: format!("{} {question}", facts.join(" ")),
        answer: asked_relation.fact(subjects[asked], values[asked]),
        distractor: asked_relation.fact(subjects[asked], values[wrong]),
        n_pairs: n_asked + n_other,
    }
}
