//! Replies of a model, and what they are worth.
use kernels::SsmBackend;
use model::{ChatTemplate, Finish, HybridModel, Message, Sampling, Tokenizer, generate_batch};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Asked, GenerativeTask, Question};
use crate::EvalError;
use crate::statistics::Estimate;
use model::hex;

/// How replies are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GenerativeOptions {
    /// Most tokens of a reply.
    pub reply_tokens: usize,
    /// Most tokens of prompt and reply; longer prompts lose their start, and are counted.
    pub max_context: usize,
    /// Replies that are written together.
    pub rows: usize,
}

/// One reply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Graded {
    /// Name of the question in its file.
    pub id: String,
    /// What the model said.
    pub reply: String,
    /// Whether it ended by itself or before one of the task's stops.
    pub is_ended: bool,
    /// What was found in it.
    pub found: Option<String>,
    /// 1 right, 0 wrong, between for a part; none where it cannot be said without running code.
    pub value: Option<f64>,
}

/// What a model made of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GenerativeScore {
    /// Name of the task.
    pub task: String,
    /// Version of prompt and grade.
    pub version: String,
    /// Questions asked.
    pub count: usize,
    /// Questions whose prompt lost its start.
    pub truncated: usize,
    /// Replies that were cut at `reply_tokens`.
    pub unended: usize,
    /// Replies in which nothing was found to grade.
    pub unanswered: usize,
    /// Hash of every prompt, hexadecimal.
    pub prompt_sha256: String,
    /// Mean of what was graded.
    pub score: Estimate,
    /// Each reply, in order.
    pub items: Vec<Graded>,
}

/// Lets `model` answer every question greedily and grades the replies; those of like length are written together.
///
/// # Errors
/// [`EvalError::Empty`] without questions, [`EvalError::NoChatTemplate`], [`EvalError::Context`] when a reply leaves no room for
/// a prompt; what the model refuses.
pub fn answer<B: SsmBackend>(
    task: &GenerativeTask,
    questions: &[Question],
    model: &HybridModel<B>,
    tokenizer: &Tokenizer,
    options: GenerativeOptions,
    mut progress: impl FnMut(usize),
) -> Result<GenerativeScore, EvalError> {
    if questions.is_empty() {
        return Err(EvalError::Empty {
            found: format!("task `{}`", task.name),
            expected: "a file with at least one row",
        });
    }
    let room = options.max_context.saturating_sub(options.reply_tokens);
    if room == 0 {
        return Err(EvalError::Context {
            reply: options.reply_tokens,
            context: options.max_context,
        });
    }
    let mut hash = Sha256::new();
    let mut prompts = Vec::with_capacity(questions.len());
    let mut stop_tokens = Vec::new();
    let mut truncated = 0;
    for question in questions {
        let ids = match &question.asked {
            Asked::Chat(text) => {
                let template = ChatTemplate::detect(tokenizer).ok_or(EvalError::NoChatTemplate)?;
                stop_tokens = vec![template.end_of_turn(tokenizer)?];
                hash.update(text);
                template
                    .encode_chat(tokenizer, &[Message::user(text.as_str())], true)?
                    .ids
            }
            Asked::Text(text) => {
                stop_tokens = model.config().llama.eos_token_ids.clone();
                hash.update(text);
                tokenizer.encode(text)
            }
        };
        hash.update([0]);
        let cut = ids.len().saturating_sub(room);
        truncated += usize::from(cut > 0);
        prompts.push(ids[cut..].to_vec());
    }
    let sampling = Sampling::greedy(options.reply_tokens).stop_at(stop_tokens);
    let mut order: Vec<usize> = (0..prompts.len()).collect();
    order.sort_by_key(|index| prompts[*index].len());
    let mut replies: Vec<(String, bool)> = vec![Default::default(); prompts.len()];
    let mut done = 0;
    for batch in order.chunks(options.rows.max(1)) {
        let rows: Vec<Vec<u32>> = batch.iter().map(|index| prompts[*index].clone()).collect();
        for (index, reply) in batch.iter().zip(generate_batch(model, &rows, &sampling)?) {
            let text = tokenizer.decode(&reply.tokens);
            let end = task.stops.iter().filter_map(|stop| text.find(stop)).min();
            let is_ended = reply.finish == Finish::Stop || end.is_some();
            replies[*index] = (text[..end.unwrap_or(text.len())].to_string(), is_ended);
        }
        done += batch.len();
        progress(done);
    }
    let graded = questions
        .iter()
        .zip(replies)
        .map(|(question, (reply, is_ended))| {
            let grade = (task.grade)(question, &reply);
            Graded {
                id: question.id.clone(),
                reply,
                is_ended,
                found: grade.found,
                value: grade.value,
            }
        });
    let items: Vec<Graded> = graded.collect();
    let values: Vec<f64> = items.iter().filter_map(|item| item.value).collect();
    Ok(GenerativeScore {
        task: task.name.into(),
        version: task.version.into(),
        count: items.len(),
        truncated,
        unended: items.iter().filter(|item| !item.is_ended).count(),
        unanswered: items.iter().filter(|item| item.found.is_none()).count(),
        prompt_sha256: hex(&hash.finalize()),
        score: Estimate::of(&values),
        items,
    })
}
