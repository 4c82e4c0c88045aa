//! A student writes: how long it says what its teacher would say, and how likely the teacher finds the rest.
use kernels::SsmBackend;
use model::{HybridModel, Sampling, generate_batch};
use serde::{Deserialize, Serialize};

use super::{Agreement, compare};
use crate::EvalError;
use crate::batching::BatchLimits;
use crate::perplexity::MaskedExample;

/// Words in a row that a reply must not say twice.
const REPEATED: usize = 4;

/// What is continued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompt {
    /// Tokens that are given.
    pub ids: Vec<u32>,
    /// A reply to compare with, such as one that the teacher drew; without the token that ends it.
    pub reference: Vec<u32>,
}

/// A greedy reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Continuation {
    /// Its tokens, without the one that ends it.
    pub tokens: Vec<u32>,
    /// Whether it came to an end.
    pub is_ended: bool,
}

/// What there is to say of one reply of a student.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// Leading tokens that are those of the teacher's greedy reply.
    pub matched: usize,
    /// Tokens of the teacher's greedy reply.
    pub teacher_tokens: usize,
    /// Tokens of the student's.
    pub student_tokens: usize,
    /// 1 if the teacher finds a token of the student's reply likelier, on average, than one of the reference; 0.5 for equals.
    pub win: f64,
    /// Share of the reply's runs of four tokens that were in it before.
    pub repeated: f64,
    /// Both models on the student's reply.
    pub agreement: Agreement,
}

/// Greedy replies of at most `max_tokens` tokens, in the order of `prompts`; those of like length are written together.
///
/// # Errors
/// What the model refuses.
pub fn continue_prompts<B: SsmBackend>(
    model: &HybridModel<B>,
    prompts: &[&[u32]],
    max_tokens: usize,
    stop: u32,
    rows: usize,
    mut progress: impl FnMut(usize),
) -> Result<Vec<Continuation>, EvalError> {
    let sampling = Sampling::greedy(max_tokens).stop_at([stop]);
    let mut order: Vec<usize> = (0..prompts.len()).collect();
    order.sort_by_key(|index| prompts[*index].len());
    let mut replies: Vec<Option<Continuation>> = vec![None; prompts.len()];
    let mut done = 0;
    for batch in order.chunks(rows.max(1)) {
        let texts: Vec<Vec<u32>> = batch.iter().map(|index| prompts[*index].to_vec()).collect();
        for (index, reply) in batch.iter().zip(generate_batch(model, &texts, &sampling)?) {
            replies[*index] = Some(Continuation {
                is_ended: reply.tokens.len() < max_tokens,
                tokens: reply.tokens,
            });
        }
        done += batch.len();
        progress(done);
    }
    Ok(replies.into_iter().flatten().collect())
}

/// Compares a student's replies with its teacher's and, by the teacher's likelihood, with the references; in order.
///
/// `replies` are the teacher's and the student's greedy ones, as many as prompts. Prompts with an empty reply or reference
/// are compared as far as they go: an empty student's reply loses.
///
/// # Errors
/// As [`compare`].
pub fn judge<B: SsmBackend>(
    [teacher, student]: [&HybridModel<B>; 2],
    prompts: &[Prompt],
    [of_teacher, of_student]: [&[Continuation]; 2],
    limits: BatchLimits,
) -> Result<Vec<Judged>, EvalError> {
    let of_student: Vec<&[u32]> = of_student
        .iter()
        .map(|reply| reply.tokens.as_slice())
        .collect();
    let references: Vec<&[u32]> = prompts
        .iter()
        .map(|prompt| prompt.reference.as_slice())
        .collect();
    let read = |student: &HybridModel<B>, replies: &[&[u32]]| {
        let texts: Vec<(Vec<u32>, Vec<bool>)> = prompts
            .iter()
            .zip(replies)
            .map(|(prompt, reply)| {
                let is_scored = (0..prompt.ids.len() + reply.len()).map(|t| t >= prompt.ids.len());
                ([&prompt.ids, *reply].concat(), is_scored.collect())
            })
            .collect();
        let examples: Vec<MaskedExample> = texts
            .iter()
            .map(|(ids, is_scored)| MaskedExample { ids, is_scored })
            .collect();
        compare(teacher, student, &examples, limits, |_| ())
    };
    let written = read(student, &of_student)?;
    let compared = read(teacher, &references)?;
    let judged = |index: usize| {
        let (student, teacher) = (of_student[index], of_teacher[index].tokens.as_slice());
        let agreement = written[index];
        Judged {
            matched: student
                .iter()
                .zip(teacher)
                .take_while(|(a, b)| a == b)
                .count(),
            teacher_tokens: teacher.len(),
            student_tokens: student.len(),
            win: win(agreement, compared[index]),
            repeated: repeated(student),
            agreement,
        }
    };
    Ok((0..prompts.len()).map(judged).collect())
}

/// Whether the teacher finds a token of the first likelier than one of the second.
fn win(student: Agreement, reference: Agreement) -> f64 {
    let mean = |text: Agreement| text.teacher_nll / text.tokens as f64;
    match (student.tokens, reference.tokens) {
        (0, 0) => 0.5,
        (0, _) => 0.0,
        (_, 0) => 1.0,
        _ => match mean(student).total_cmp(&mean(reference)) {
            std::cmp::Ordering::Less => 1.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Greater => 0.0,
        },
    }
}

/// Share of the runs of [`REPEATED`] tokens that were there before.
fn repeated(tokens: &[u32]) -> f64 {
    let runs = tokens.windows(REPEATED);
    let count = runs.len();
    let different: std::collections::HashSet<&[u32]> = runs.collect();
    (count - different.len()) as f64 / count.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny_model::{tiny_model, tiny_model_seeded};

    #[test]
    fn a_teacher_matches_itself_and_a_stranger_does_not() {
        let (teacher, stranger) = (tiny_model(97), tiny_model_seeded(97, 1));
        let prompts: Vec<Prompt> = (0..5)
            .map(|n| Prompt {
                ids: (0..3 + n).map(|t| (7 * t + n) % 97).collect(),
                reference: vec![96; 4],
            })
            .collect();
        let ids: Vec<&[u32]> = prompts.iter().map(|prompt| prompt.ids.as_slice()).collect();
        let write = |model| continue_prompts(model, &ids, 12, 98, 2, |_| ()).unwrap();
        let (own, other) = (write(&teacher), write(&stranger));
        assert!(
            own.iter()
                .all(|reply| reply.tokens.len() == 12 && !reply.is_ended)
        );
        let models = [&teacher, &teacher];
        let found = judge(models, &prompts, [&own, &own], BatchLimits::HOST).unwrap();
        for judged in &found {
            assert_eq!((judged.matched, judged.agreement.top1()), (12, 1.0));
            assert_eq!(judged.win, 1.0, "greedy tokens are likelier than any other");
        }
        let models = [&teacher, &stranger];
        let found = judge(models, &prompts, [&own, &other], BatchLimits::HOST).unwrap();
        assert!(
            found
                .iter()
                .all(|judged| judged.matched < 12 && judged.agreement.mean_kl() > 1e-4)
        );
    }

    #[test]
    fn a_reply_in_circles_is_seen() {
        assert_eq!(repeated(&[1, 2, 3]), 0.0);
        assert_eq!(repeated(&[1, 2, 3, 4, 5, 6]), 0.0);
        // Runs: 1212, 2121, 1212, 2121, 1212.
        assert_eq!(repeated(&[1, 2, 1, 2, 1, 2, 1, 2]), 0.6);
    }

    #[test]
    fn nothing_said_loses() {
        let said = Agreement {
            tokens: 2,
            teacher_nll: 3.0,
            ..Agreement::default()
        };
        assert_eq!(win(Agreement::default(), said), 0.0);
        assert_eq!(win(said, said), 0.5);
        assert_eq!(
            win(
                said,
                Agreement {
                    teacher_nll: 2.0,
                    ..said
                }
            ),
            0.0
        );
        assert_eq!(
            win(
                said,
                Agreement {
                    teacher_nll: 4.0,
                    ..said
                }
            ),
            1.0
        );
    }
}
