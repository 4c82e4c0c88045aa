//! A needle in a haystack: one sentence somewhere in a long text, and a question about it (method, section 6).
use std::collections::HashMap;

use kernels::SsmBackend;
use model::{ChatTemplate, HybridModel, Message, Tokenizer};
use serde::{Deserialize, Serialize};

use crate::EvalError;
use crate::fidelity::continue_prompts;

/// What is hidden, what is asked, and what is right.
const NEEDLE: &str = "The best thing to do in San Francisco is eat a sandwich and sit in Dolores Park on a sunny day.";
const QUESTION: &str =
    "What is the best thing to do in San Francisco? Answer with the sentence from the text.";
const ANSWER: &str = "eat a sandwich and sit in Dolores Park on a sunny day";
/// Words whose presence counts as recall.
const KEYWORDS: [&str; 3] = ["sandwich", "Dolores", "sunny"];
/// Most tokens of prompts that are answered together: bounds what their caches take.
const TOGETHER: usize = 1 << 18;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NeedleOptions {
    /// Tokens of the whole prompt, as a list.
    pub lengths: Vec<usize>,
    /// Where the needle is, 0 for the start of the text, 1 for its end.
    pub depths: Vec<f64>,
    /// Most tokens of a reply.
    pub reply_tokens: usize,
}

impl NeedleOptions {
    /// `count` lengths from `least` to `most`, evenly apart, and eleven depths.
    pub fn grid(least: usize, most: usize, count: usize) -> Self {
        let step = |index: usize| (most - least) * index / (count - 1).max(1);
        Self {
            lengths: (0..count).map(|index| least + step(index)).collect(),
            depths: (0..=10).map(|tenth| f64::from(tenth) / 10.0).collect(),
            reply_tokens: 48,
        }
    }
}

/// What came of one length and depth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NeedleScore {
    /// Tokens asked for.
    pub length: usize,
    /// Tokens of the prompt: no more than asked for.
    pub tokens: usize,
    /// Where the needle was.
    pub depth: f64,
    /// ROUGE-1 F between reply and answer, times ten.
    pub rouge: f64,
    /// Whether all that matters was in the reply.
    pub is_recalled: bool,
    /// What was said.
    pub reply: String,
}

/// Asks every length and depth. The text is taken from `haystack`, again from its start if it is too short.
///
/// # Errors
/// [`EvalError::NoChatTemplate`], [`EvalError::Empty`] for a text without a sentence, [`EvalError::Needle`] for a length without
/// room for needle and question.
pub fn needle<B: SsmBackend>(
    model: &HybridModel<B>,
    tokenizer: &Tokenizer,
    haystack: &str,
    options: &NeedleOptions,
    mut progress: impl FnMut(usize),
) -> Result<Vec<NeedleScore>, EvalError> {
    let template = ChatTemplate::detect(tokenizer).ok_or(EvalError::NoChatTemplate)?;
    let stop = template.end_of_turn(tokenizer)?;
    let sentences: Vec<(&str, usize)> = haystack
        .split_inclusive(['.', '!', '?', '\n'])
        .filter(|sentence| sentence.chars().any(char::is_alphabetic))
        .map(|sentence| (sentence, tokenizer.encode(sentence).len()))
        .collect();
    if sentences.is_empty() {
        return Err(EvalError::Empty {
            found: "the haystack".into(),
            expected: "a text with at least one sentence",
        });
    }
    let encode = |text: &str| -> Result<Vec<u32>, EvalError> {
        let turn = format!("{}\n\n{QUESTION}", text.trim());
        Ok(template
            .encode_chat(tokenizer, &[Message::user(turn)], true)?
            .ids)
    };
    let least = encode(NEEDLE)?.len();
    let mut scores = Vec::new();
    for length in &options.lengths {
        let Some(mut room) = length.checked_sub(least) else {
            return Err(EvalError::Needle {
                length: *length,
                least,
            });
        };
        let mut prompts = Vec::with_capacity(options.depths.len());
        for depth in &options.depths {
            // Sentences encoded together can take a token more than apart.
            let ids = loop {
                let ids = encode(&hide(&sentences, room, *depth))?;
                match ids.len().saturating_sub(*length) {
                    0 => break ids,
                    over => room = room.saturating_sub(over),
                }
            };
            prompts.push(ids);
        }
        let prompts_ids: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        let rows = (TOGETHER / length).clamp(1, options.depths.len().max(1));
        let replies = continue_prompts(
            model,
            &prompts_ids,
            options.reply_tokens,
            stop,
            rows,
            |_| (),
        )?;
        for ((depth, ids), reply) in options.depths.iter().zip(&prompts).zip(replies) {
            let reply = tokenizer.decode(&reply.tokens).trim().to_string();
            scores.push(NeedleScore {
                length: *length,
                tokens: ids.len(),
                depth: *depth,
                rouge: 10.0 * rouge_1(&reply, ANSWER),
                is_recalled: KEYWORDS.iter().all(|word| reply.contains(word)),
                reply,
            });
            progress(scores.len());
        }
    }
    Ok(scores)
}

/// At most `room` tokens of sentences, with the needle before the one at `depth`.
fn hide(sentences: &[(&str, usize)], room: usize, depth: f64) -> String {
    let mut taken = Vec::new();
    let mut tokens = 0;
    for (sentence, count) in sentences.iter().cycle() {
        tokens += count;
        if tokens > room {
            break;
        }
        taken.push(*sentence);
    }
    let at = (depth * taken.len() as f64).round() as usize;
    let (before, after) = taken.split_at(at.min(taken.len()));
    format!("{} {NEEDLE}{}", before.concat(), after.concat())
}

/// F-measure of the words that two texts share (ROUGE-1), 0 to 1.
pub fn rouge_1(reply: &str, reference: &str) -> f64 {
    let words = |text: &str| {
        let mut counts: HashMap<String, usize> = HashMap::new();
        let parts = text.split(|letter: char| !letter.is_alphanumeric());
        for word in parts.filter(|word| !word.is_empty()) {
            *counts.entry(word.to_lowercase()).or_default() += 1;
        }
        counts
    };
    let (reply, reference) = (words(reply), words(reference));
    let shared: usize = reply
        .iter()
        .map(|(word, count)| (*count).min(reference.get(word).copied().unwrap_or(0)))
        .sum();
    let all = reply.values().sum::<usize>() + reference.values().sum::<usize>();
    2.0 * shared as f64 / all.max(1) as f64
}

/// A heat map of the scores: lengths from left to right, depths from top to bottom, green for found, as SVG.
pub fn heat_map(title: &str, scores: &[NeedleScore]) -> String {
    const SIDE: usize = 34;
    const LEFT: usize = 70;
    const TOP: usize = 50;
    let mut lengths: Vec<usize> = scores.iter().map(|score| score.length).collect();
    lengths.dedup();
    let mut depths: Vec<f64> = Vec::new();
    for score in scores {
        if !depths.contains(&score.depth) {
            depths.push(score.depth);
        }
    }
    let (width, height) = (
        LEFT + SIDE * lengths.len() + 20,
        TOP + SIDE * depths.len() + 60,
    );
    let title = title.replace('&', "&amp;").replace('<', "&lt;");
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<text x=\"{LEFT}\" y=\"20\" font-size=\"14\">{title}</text>\n"
    );
    for score in scores {
        let column = lengths
            .iter()
            .position(|length| *length == score.length)
            .unwrap_or(0);
        let row = depths
            .iter()
            .position(|depth| *depth == score.depth)
            .unwrap_or(0);
        // Hue from red to green.
        let hue = (score.rouge.clamp(0.0, 10.0) * 12.0).round();
        let (x, y) = (LEFT + SIDE * column, TOP + SIDE * row);
        svg += &format!(
            "<rect x=\"{x}\" y=\"{y}\" width=\"{SIDE}\" height=\"{SIDE}\" fill=\"hsl({hue}, 65%, 55%)\"/>\n\
             <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{:.0}</text>\n",
            x + SIDE / 2,
            y + SIDE / 2 + 4,
            score.rouge
        );
    }
    for (row, depth) in depths.iter().enumerate() {
        let y = TOP + SIDE * row + SIDE / 2 + 4;
        let percent = 100.0 * depth;
        svg += &format!(
            "<text x=\"{}\" y=\"{y}\" text-anchor=\"end\">{percent:.0} %</text>\n",
            LEFT - 6
        );
    }
    for (column, length) in lengths.iter().enumerate() {
        let (x, y) = (
            LEFT + SIDE * column + SIDE / 2,
            TOP + SIDE * depths.len() + 14,
        );
        svg += &format!(
            "<text x=\"{x}\" y=\"{y}\" text-anchor=\"end\" transform=\"rotate(-45 {x} {y})\">{length}</text>\n"
        );
    }
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rouge_counts_shared_words_once_each() {
        assert_eq!(rouge_1(ANSWER, ANSWER), 1.0);
        assert_eq!(rouge_1("nothing", ANSWER), 0.0);
        assert_eq!(rouge_1("", ""), 0.0);
        // One of two words against one of four.
        assert!((rouge_1("Park park", "a park it is") - 2.0 / 6.0).abs() < 1e-12);
    }

    #[test]
    fn the_needle_is_at_its_depth_and_the_length_is_kept() {
        let text = "The sun rose. The wind blew! Did it rain? It did.\n";
        let specials = ["<|im_start|>", "<|im_end|>"];
        let tokenizer = Tokenizer::train_bpe([text, NEEDLE, QUESTION], 400, &specials).unwrap();
        let model = crate::tiny_model::tiny_model(tokenizer.vocab_size());
        let options = NeedleOptions {
            reply_tokens: 2,
            ..NeedleOptions::grid(120, 200, 3)
        };
        assert_eq!(options.lengths, [120, 160, 200]);
        let scores = needle(&model, &tokenizer, text, &options, |_| ()).unwrap();
        assert_eq!(scores.len(), 33);
        for score in &scores {
            assert!(
                score.tokens <= score.length && score.tokens + 30 > score.length,
                "{score:?}"
            );
            assert!(!score.is_recalled);
        }
        let sentences: Vec<(&str, usize)> = text
            .split_inclusive(['.', '!', '?'])
            .map(|s| (s, 1))
            .collect();
        assert!(hide(&sentences, 8, 0.0).trim().starts_with(NEEDLE));
        assert!(hide(&sentences, 8, 1.0).ends_with(NEEDLE));
        let middle = hide(&sentences, 8, 0.5);
        assert!(middle.find(NEEDLE).unwrap() > 20 && !middle.ends_with(NEEDLE));
        let short = NeedleOptions {
            lengths: vec![10],
            ..options
        };
        let error = needle(&model, &tokenizer, text, &short, |_| ())
            .unwrap_err()
            .to_string();
        assert!(error.contains("of 10 tokens"), "{error}");

        let map = heat_map("a < b", &scores);
        assert_eq!(map.matches("<rect").count(), 33);
        assert!(map.contains("a &lt; b") && map.ends_with("</svg>\n"));
    }
}
