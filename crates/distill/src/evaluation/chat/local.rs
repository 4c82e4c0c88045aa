//! A local model as judge: a stand-in, and called a proxy wherever its numbers are.
use eval::EvalError;
use eval::judge::{Ask, Kind, Said};
use eval::loglikelihood::{Request, log_likelihoods};
use kernels::SsmBackend;
use model::{ChatTemplate, HybridModel, Message, Sampling, Tokenizer, generate_batch};

use super::Judge;
use super::judge::Heard;
use crate::evaluation::batch_limits;

/// A model of this machine that judges.
pub struct LocalJudge<'a, B: SsmBackend> {
    /// Name in tables.
    pub name: String,
    /// The model.
    pub model: &'a HybridModel<B>,
    /// Its tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// Most tokens of a judgment.
    pub reply_tokens: usize,
    /// Judgments written together.
    pub rows: usize,
}

impl<B: SsmBackend> Judge for LocalJudge<'_, B> {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_proxy(&self) -> bool {
        true
    }

    fn hear(&self, asks: &[&Ask], heard: Heard) -> anyhow::Result<()> {
        let template = ChatTemplate::detect(self.tokenizer).ok_or(EvalError::NoChatTemplate)?;
        let stop = template.end_of_turn(self.tokenizer)?;
        let context = self.model.config().llama.max_position_embeddings;
        let reply_tokens = self.reply_tokens.min(context / 2);
        let mut order: Vec<usize> = (0..asks.len()).collect();
        order.sort_by_key(|place| (asks[*place].kind == Kind::Token, asks[*place].user.len()));
        for batch in order.chunks(self.rows.max(1)) {
            let mut written: Vec<(usize, Vec<u32>, bool)> = Vec::new();
            for place in batch {
                let ask = asks[*place];
                let messages = [
                    Message::system(ask.system.as_str()),
                    Message::user(ask.user.as_str()),
                ];
                let ids = template.encode_chat(self.tokenizer, &messages, true)?.ids;
                let room = match ask.kind {
                    Kind::Token => context,
                    Kind::Rating | Kind::Verdict => context - reply_tokens,
                };
                // The end says what is to be answered; a judge that has not seen all is counted.
                let cut = ids.len().saturating_sub(room);
                let prompt = ids[cut..].to_vec();
                match ask.kind {
                    Kind::Token => heard(*place, self.letters(prompt, cut > 0)?)?,
                    Kind::Rating | Kind::Verdict => written.push((*place, prompt, cut > 0)),
                }
            }
            let prompts: Vec<Vec<u32>> = written
                .iter()
                .map(|(_, prompt, _)| prompt.clone())
                .collect();
            if prompts.is_empty() {
                continue;
            }
            let sampling = Sampling::greedy(reply_tokens).stop_at([stop]);
            let replies = generate_batch(self.model, &prompts, &sampling)?;
            for ((place, _, is_cut), reply) in written.into_iter().zip(replies) {
                let text = self.tokenizer.decode(&reply.tokens);
                heard(
                    place,
                    Said {
                        text,
                        is_cut,
                        ..Said::default()
                    },
                )?;
            }
        }
        Ok(())
    }
}

impl<B: SsmBackend> LocalJudge<'_, B> {
    /// How likely `m` and `M` are as the reply: a small model names neither, but finds one likelier.
    fn letters(&self, context: Vec<u32>, is_cut: bool) -> anyhow::Result<Said> {
        let letters = ["m", "M"];
        let requests = letters.map(|letter| Request {
            context: context.clone(),
            continuation: self.tokenizer.encode(letter),
        });
        let most = self.model.config().llama.max_position_embeddings;
        let found = log_likelihoods(self.model, &requests, most, batch_limits(), |_| ())?;
        let likely = letters
            .iter()
            .zip(found)
            .map(|(letter, found)| (letter.to_string(), found.total));
        Ok(Said {
            text: String::new(),
            first_token: likely.collect(),
            is_cut,
        })
    }
}
