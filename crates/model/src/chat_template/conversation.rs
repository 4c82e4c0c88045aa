//! A conversation as messages and as the tokens that the model saw, which may be other ones than encoding the text gives.

use super::{ChatTemplate, EncodedChat, Message};
use crate::error::ModelError;
use crate::tokenizer::Tokenizer;

/// Messages so far, and the tokens they are for the model.
///
/// After a reply the next prompt begins with the prompt before and the very tokens of the reply, so that a cache of both goes on.
#[derive(Clone, Debug)]
pub struct Conversation {
    template: ChatTemplate,
    messages: Vec<Message>,
    /// The prompt of the last reply and the tokens of the reply
    past: Option<(Vec<u32>, Vec<u32>)>,
}

impl Conversation {
    /// One that begins with the system turn `system`, if there is one.
    pub fn new(template: ChatTemplate, system: Option<String>) -> Self {
        Self {
            template,
            messages: system.map(Message::system).into_iter().collect(),
            past: None,
        }
    }

    /// What was said, in order.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// The tokens to continue so that `text` of the user is answered; it is not part of the conversation until the
    /// [`reply`](Self::add).
    ///
    /// # Errors
    /// As [`ChatTemplate::encode_chat`].
    pub fn prompt(&self, tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, ModelError> {
        let mut messages = self.messages.clone();
        messages.push(Message::user(text));
        let chat = self.template.encode_chat(tokenizer, &messages, true)?;
        Ok(match &self.past {
            Some((prompt, reply)) => {
                let end = self.template.end_of_turn(tokenizer)?;
                continued(&chat, prompt, reply, end).unwrap_or(chat.ids)
            }
            None => chat.ids,
        })
    }

    /// Adds what the user said and what the model answered: the `reply` to `prompt`, whose text is `answer`.
    pub fn add(&mut self, text: String, answer: String, prompt: Vec<u32>, reply: Vec<u32>) {
        self.messages.push(Message::user(text));
        self.messages.push(Message::assistant(answer));
        self.past = Some((prompt, reply));
    }
}

/// The tokens of `chat` with `prompt` and the tokens that `reply` was drawn as in place of what their text is encoded as; none if the last
/// reply of `chat` does not end with `end`.
fn continued(chat: &EncodedChat, prompt: &[u32], reply: &[u32], end: u32) -> Option<Vec<u32>> {
    let last = chat.loss_mask.iter().rposition(|is_target| *is_target)?;
    (chat.ids[last] == end).then(|| [prompt, reply, &chat.ids[last..]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_begins_with_what_the_model_saw_and_reads_as_the_whole_conversation() {
        let specials = [
            "<|im_start|>",
            "<|im_end|>",
            "<|begin_of_text|>",
            "<|start_header_id|>",
            "<|end_header_id|>",
            "<|eot_id|>",
        ];
        let texts = ["user assistant Hello there there"];
        let tokenizer = Tokenizer::train_bpe(texts, 320, &specials).unwrap();
        for template in [ChatTemplate::chat_ml(), ChatTemplate::Llama3] {
            let mut conversation = Conversation::new(template.clone(), Some("Be brief".into()));
            let mut said = vec![Message::system("Be brief")];
            for turn in 0..3 {
                let (text, answer) = (format!("Question {turn}"), format!("there {turn}"));
                let prompt = conversation.prompt(&tokenizer, &text).unwrap();
                said.push(Message::user(text.clone()));
                let whole = template.encode_chat(&tokenizer, &said, true).unwrap();
                assert_eq!(tokenizer.decode(&prompt), tokenizer.decode(&whole.ids));
                // Drawn character by character, which is not how the text is encoded.
                let drawn: Vec<u32> = answer
                    .chars()
                    .flat_map(|c| tokenizer.encode(&c.to_string()))
                    .collect();
                assert_ne!(drawn, tokenizer.encode(&answer));
                if let Some((past, reply)) = &conversation.past {
                    assert!(prompt.starts_with(&[past.as_slice(), reply].concat()));
                }
                conversation.add(text, answer.clone(), prompt, drawn);
                said.push(Message::assistant(answer));
            }
            assert_eq!(conversation.messages(), said);
        }
    }
}
