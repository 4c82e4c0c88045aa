//! Replies of teacher and student to the same held-out prompts, to be read side by side.
use kernels::SsmBackend;
use model::decode::{Sampling, generate_batch};
use model::{ChatTemplate, HybridModel, Tokenizer};

use crate::data::Example;
use crate::run::Sample;

/// Most tokens of a reply.
const TOKENS: usize = 48;
/// Tokens of a text that are its prompt.
const TEXT_PROMPT: usize = 16;

/// Prompts, and what the teacher said to them.
#[derive(Debug, Clone)]
pub struct Prompts {
    ids: Vec<Vec<u32>>,
    shown: Vec<String>,
    teacher: Vec<String>,
    stop: Vec<u32>,
}

impl Prompts {
    /// The first `count` of `examples`, to which the teacher replies at once.
    ///
    /// # Errors
    /// As decoding says.
    pub fn new<B: SsmBackend>(
        count: usize,
        examples: &[Example],
        teacher: &HybridModel<B>,
        tokenizer: &Tokenizer,
    ) -> anyhow::Result<Self> {
        let ids: Vec<Vec<u32>> = examples.iter().filter_map(prompt).take(count).collect();
        let template = ChatTemplate::detect(tokenizer);
        let stop = template.map(|template| template.end_of_turn(tokenizer));
        let mut prompts = Self {
            shown: ids
                .iter()
                .map(|ids| tokenizer.decode_without_specials(ids))
                .collect(),
            ids,
            teacher: Vec::new(),
            stop: stop.transpose()?.into_iter().collect(),
        };
        prompts.teacher = prompts.replies(teacher, tokenizer)?;
        Ok(prompts)
    }

    fn replies<B: SsmBackend>(
        &self,
        model: &HybridModel<B>,
        tokenizer: &Tokenizer,
    ) -> anyhow::Result<Vec<String>> {
        if self.ids.is_empty() {
            return Ok(Vec::new());
        }
        let sampling = Sampling::greedy(TOKENS).stop_at(self.stop.clone());
        let replies = generate_batch(model, &self.ids, &sampling)?;
        let texts = replies
            .iter()
            .map(|reply| tokenizer.decode_without_specials(&reply.tokens));
        Ok(texts.collect())
    }

    /// The prompts with the replies of `student`.
    ///
    /// # Errors
    /// As decoding says.
    pub fn answered_by<B: SsmBackend>(
        &self,
        student: &HybridModel<B>,
        tokenizer: &Tokenizer,
    ) -> anyhow::Result<Vec<Sample>> {
        let replies = self.replies(student, tokenizer)?;
        let said = self.shown.iter().zip(&self.teacher).zip(replies);
        Ok(said
            .map(|((prompt, teacher), student)| Sample {
                prompt: prompt.trim().into(),
                teacher: teacher.trim().into(),
                student: student.trim().into(),
            })
            .collect())
    }
}

/// What stands before the last reply; of a text, how it begins. `None` if there is nothing.
fn prompt(example: &Example) -> Option<Vec<u32>> {
    let end = example.targets.iter().rposition(|target| *target)?;
    let reply = example.targets[..end].iter().rposition(|target| !*target);
    let length = match reply {
        Some(last) if last > 0 => last + 1,
        _ => TEXT_PROMPT.min(example.ids.len() / 2),
    };
    (length > 0).then(|| example.ids[..length].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(targets: &str) -> Example {
        Example {
            ids: (0..targets.len() as u32).collect(),
            targets: targets.bytes().map(|byte| byte == b'x').collect(),
        }
    }

    #[test]
    fn a_prompt_ends_before_the_last_reply() {
        assert_eq!(prompt(&example("...xxx")).unwrap().len(), 3);
        assert_eq!(prompt(&example("..xx..xxx.")).unwrap().len(), 6);
        // Text: all of it is learned.
        assert_eq!(prompt(&example(".xxxxxxx")).unwrap().len(), 4);
        assert_eq!(prompt(&example("....")), None);
    }
}
