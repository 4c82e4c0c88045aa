//! How far back a model can look: recall and look-up with text between what is told and the question.
use kernels::SsmBackend;
use model::{ChatTemplate, HybridModel, Message, Tokenizer};
use serde::{Deserialize, Serialize};

use super::{SyntheticTask, TaskKind, TaskMix, tasks};
use crate::EvalError;
use crate::batching::BatchLimits;
use crate::exact_match::Accuracy;
use crate::fidelity::{Continuation, continue_prompts};
use crate::loglikelihood::{LogLikelihood, Request, log_likelihoods};

/// Sentences that say nothing about any task, told in turn.
const FILLER: [&str; 8] = [
    "The morning was quiet and nothing much happened.",
    "Some time went by in the usual way.",
    "It rained a little and then it stopped.",
    "The afternoon was long and rather warm.",
    "Nobody was in a hurry that day.",
    "The wind came and went again.",
    "Later it grew cool and still.",
    "So another day came to its end.",
];

/// Tokens of a reply beyond the right one's: a model may say more than it has to.
const SPARE_TOKENS: usize = 16;

/// What is asked.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DistanceOptions {
    /// Tokens between what is told and the question.
    pub distances: Vec<usize>,
    /// Tasks of each kind at each distance.
    pub count: usize,
    /// Pairs or facts of a task.
    pub n_pairs: usize,
    /// Seed of the tasks; they are never trained on.
    pub seed: u64,
    /// Most tokens of prompt and answer.
    pub max_context: usize,
}

/// What a model made of tasks at one distance.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DistanceScore {
    /// What was asked for: recall or look-up.
    pub kind: TaskKind,
    /// Tokens between what is told and the question, at least.
    pub distance: usize,
    /// Tasks that are longer than the context of the model, and were not asked.
    pub skipped: usize,
    /// Tasks whose right answer is likelier than a wrong one of the same form; by chance one half.
    pub choice: Accuracy,
    /// Tasks whose greedy reply has the right value in it, and not the wrong one.
    pub generated: Accuracy,
}

/// Asks recall and look-up at every distance, nearest first.
///
/// # Errors
/// [`EvalError::NoChatTemplate`]; what the model refuses.
pub fn by_distance<B: SsmBackend>(
    model: &HybridModel<B>,
    tokenizer: &Tokenizer,
    options: &DistanceOptions,
    limits: BatchLimits,
    mut progress: impl FnMut(usize),
) -> Result<Vec<DistanceScore>, EvalError> {
    let template = ChatTemplate::detect(tokenizer).ok_or(EvalError::NoChatTemplate)?;
    let stop = template.end_of_turn(tokenizer)?;
    let mut scores = Vec::new();
    for kind in [TaskKind::Recall, TaskKind::Lookup] {
        let mix = TaskMix::only(kind, options.n_pairs).held_out();
        let told = tasks(options.seed, options.count, &mix);
        for distance in &options.distances {
            let filler = filler(tokenizer, *distance);
            let mut asked = Vec::new();
            for task in &told {
                let task = with_filler(task, &filler);
                let turn = [Message::user(task.prompt.as_str())];
                let prompt = template.encode_chat(tokenizer, &turn, true)?.ids;
                let longest = tokenizer.encode(&task.answer).len() + SPARE_TOKENS;
                if prompt.len() + longest <= options.max_context {
                    asked.push((task, prompt));
                }
            }
            scores.push(DistanceScore {
                kind,
                distance: *distance,
                skipped: told.len() - asked.len(),
                choice: choose(model, tokenizer, &asked, options.max_context, limits)?,
                generated: write(model, tokenizer, &asked, stop, limits)?,
            });
            progress(scores.len());
        }
    }
    Ok(scores)
}

/// A task with its prompt as tokens.
type Asked = (SyntheticTask, Vec<u32>);

fn choose<B: SsmBackend>(
    model: &HybridModel<B>,
    tokenizer: &Tokenizer,
    asked: &[Asked],
    max_context: usize,
    limits: BatchLimits,
) -> Result<Accuracy, EvalError> {
    let requests: Vec<Request> = asked
        .iter()
        .flat_map(|(task, prompt)| {
            [&task.answer, &task.distractor].map(|answer| Request {
                context: prompt.clone(),
                continuation: tokenizer.encode(answer),
            })
        })
        .collect();
    let totals = log_likelihoods(model, &requests, max_context, limits, |_| ())?;
    let is_right = |pair: &&[LogLikelihood]| pair[0].total > pair[1].total;
    Ok(Accuracy {
        correct: totals.chunks(2).filter(is_right).count(),
        count: asked.len(),
    })
}

fn write<B: SsmBackend>(
    model: &HybridModel<B>,
    tokenizer: &Tokenizer,
    asked: &[Asked],
    stop: u32,
    limits: BatchLimits,
) -> Result<Accuracy, EvalError> {
    let prompts: Vec<&[u32]> = asked.iter().map(|(_, prompt)| prompt.as_slice()).collect();
    let answers = asked
        .iter()
        .map(|(task, _)| tokenizer.encode(&task.answer).len());
    let max_tokens = answers.max().unwrap_or(0) + SPARE_TOKENS;
    let replies = continue_prompts(model, &prompts, max_tokens, stop, limits.rows, |_| ())?;
    let is_right =
        |((task, _), reply): &(&Asked, &Continuation)| says(task, &tokenizer.decode(&reply.tokens));
    Ok(Accuracy {
        correct: asked.iter().zip(&replies).filter(is_right).count(),
        count: asked.len(),
    })
}

/// At least `tokens` tokens of sentences.
fn filler(tokenizer: &Tokenizer, tokens: usize) -> String {
    let mut filler = String::new();
    for sentence in FILLER.iter().cycle() {
        if tokenizer.encode(&filler).len() >= tokens {
            break;
        }
        filler.push_str(sentence);
        filler.push(' ');
    }
    filler
}

/// The task with `filler` before its question, which is its last sentence.
fn with_filler(task: &SyntheticTask, filler: &str) -> SyntheticTask {
    let (told, question) = task.prompt.rsplit_once(". ").unwrap_or(("", &task.prompt));
    SyntheticTask {
        prompt: format!("{told}. {filler}{question}"),
        ..task.clone()
    }
}

/// Whether a reply has what tells the answer from the distractor, and not what tells the distractor from it.
fn says(task: &SyntheticTask, reply: &str) -> bool {
    let has = |value: &str| {
        let is_edge = |letter: Option<char>| letter.is_none_or(|letter| !letter.is_alphanumeric());
        reply.match_indices(value).any(|(at, _)| {
            is_edge(reply[..at].chars().next_back())
                && is_edge(reply[at + value.len()..].chars().next())
        })
    };
    let [right, wrong] = differing(&task.answer, &task.distractor);
    has(right) && !has(wrong)
}

/// The words in the middle in which two sentences of the same form differ.
fn differing<'a>(first: &'a str, second: &'a str) -> [&'a str; 2] {
    let is_apart = |letter: char| !letter.is_alphanumeric();
    let equal = first
        .bytes()
        .zip(second.bytes())
        .take_while(|(a, b)| a == b)
        .count();
    let start = first[..equal].rfind(is_apart).map_or(0, |at| at + 1);
    let equal = first
        .bytes()
        .rev()
        .zip(second.bytes().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let ends = [first, second].map(|text| {
        let shared = &text[text.len() - equal..];
        text.len() - shared.len() + shared.find(is_apart).unwrap_or(shared.len())
    });
    [
        &first[start..ends[0].max(start)],
        &second[start..ends[1].max(start)],
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::words::{ANIMALS, COLORS, FOODS, JOBS, NAMES, OBJECTS, PLACES};

    #[test]
    fn filler_has_no_word_of_a_task() {
        let lists: [&[&str]; 7] = [&NAMES, &OBJECTS, &ANIMALS, &PLACES, &FOODS, &JOBS, &COLORS];
        for word in FILLER.iter().flat_map(|sentence| sentence.split(' ')) {
            let word = word.trim_end_matches('.').to_lowercase();
            for list in lists {
                assert!(
                    list.iter().all(|other| other.to_lowercase() != word),
                    "{word}"
                );
            }
        }
    }

    #[test]
    fn values_are_what_the_answers_differ_in() {
        for (first, second, expected) in [
            ("The answer is 17.", "The answer is 12.", ["17", "12"]),
            (
                "Anna lives in Rome.",
                "Anna lives in Oslo.",
                ["Rome", "Oslo"],
            ),
            ("Bob has a pan.", "Bob has a pencil.", ["pan", "pencil"]),
            ("The cup is red.", "The cup is gold.", ["red", "gold"]),
        ] {
            assert_eq!(differing(first, second), expected);
        }
    }

    #[test]
    fn a_reply_is_right_by_its_value_in_whole_words() {
        let task = tasks(1, 1, &TaskMix::only(TaskKind::Recall, 4).held_out()).remove(0);
        let task = SyntheticTask {
            answer: "The answer is pan.".into(),
            distractor: "The answer is pencil.".into(),
            ..task
        };
        for (reply, expected) in [
            ("It is a pan", true),
            ("The answer is pan.", true),
            ("pans", false),
            ("a pan or a pencil", false),
            ("a pencil", false),
            ("", false),
        ] {
            assert_eq!(says(&task, reply), expected, "{reply}");
        }
    }

    #[test]
    fn the_question_moves_away_and_nothing_else_changes() {
        let text: Vec<String> = tasks(1, 30, &TaskMix::default())
            .into_iter()
            .map(|task| task.prompt)
            .chain(FILLER.map(str::to_owned))
            .collect();
        let specials = ["<|im_start|>", "<|im_end|>"];
        let tokenizer = Tokenizer::train_bpe(&text, 400, &specials).unwrap();
        for kind in [TaskKind::Recall, TaskKind::Lookup] {
            for task in tasks(2, 20, &TaskMix::only(kind, 4).held_out()) {
                assert_eq!(with_filler(&task, &filler(&tokenizer, 0)), task);
                let far = with_filler(&task, &filler(&tokenizer, 50));
                let (told, question) = task.prompt.rsplit_once(". ").unwrap();
                assert!(far.prompt.starts_with(told) && far.prompt.ends_with(question));
                assert!(
                    question.ends_with('?') && !question.contains('.'),
                    "{question}"
                );
                let more =
                    tokenizer.encode(&far.prompt).len() - tokenizer.encode(&task.prompt).len();
                assert!((48..90).contains(&more), "{more}");
            }
        }
        let model = crate::tiny_model::tiny_model(tokenizer.vocab_size());
        let options = DistanceOptions {
            distances: vec![0, 20, 400],
            count: 6,
            n_pairs: 3,
            seed: 3,
            max_context: 250,
        };
        let scores = by_distance(&model, &tokenizer, &options, BatchLimits::HOST, |_| ()).unwrap();
        assert_eq!(scores.len(), 6);
        for score in &scores {
            assert_eq!(score.skipped + score.choice.count, 6);
            assert_eq!(score.choice.count, score.generated.count);
            assert_eq!(score.skipped == 6, score.distance == 400);
            assert_eq!(
                score.generated.correct, 0,
                "an untrained model knows nothing"
            );
        }
    }
}
