//! The built-in chat templates as Jinja, for readers of `tokenizer_config.json` and GGUF files.

use super::ChatTemplate;

const LLAMA3: &str = "{{ '<|begin_of_text|>' }}{% for message in messages %}\
    {{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}\
    {% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}";

const ZEPHYR: &str = "{% for message in messages %}\
    {{ '<|' + message['role'] + '|>\\n' + message['content'] + '</s>\\n' }}\
    {% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}";

const CHAT_ML: &str = "{% for message in messages %}\
    {{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}\
    {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

impl ChatTemplate {
    /// The template as a Jinja program over `messages` and `add_generation_prompt`.
    pub fn jinja_source(&self) -> String {
        match self {
            Self::ChatMl {
                default_system: None,
            } => CHAT_ML.into(),
            Self::ChatMl {
                default_system: Some(system),
            } => {
                let quoted = system.replace('\\', "\\\\").replace('\'', "\\'");
                format!(
                    "{{% if messages[0]['role'] != 'system' %}}{{{{ '<|im_start|>system\\n{quoted}<|im_end|>\\n' }}}}\
                     {{% endif %}}{CHAT_ML}"
                )
            }
            Self::Llama3 => LLAMA3.into(),
            Self::Zephyr => ZEPHYR.into(),
            Self::Jinja(template) => template.source.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{JinjaTemplate, Message};
    use super::*;
    use crate::tokenizer::Tokenizer;

    #[test]
    fn as_jinja_each_template_writes_the_same_tokens() {
        let specials = [
            "<|im_start|>",
            "<|im_end|>",
            "<|begin_of_text|>",
            "<|start_header_id|>",
            "<|end_header_id|>",
            "<|eot_id|>",
            "</s>",
        ];
        let tokenizer = Tokenizer::train_bpe(["user assistant Hello"], 300, &specials).unwrap();
        let chat = [
            Message::user("Hi, it's 5 'o\\clock"),
            Message::assistant("Hello "),
            Message::user("More?"),
            Message::assistant("no"),
        ];
        let with_system = [&[Message::system("Be brief")], &chat[..]].concat();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokenizer_config.json");
        for (template, end) in [
            (ChatTemplate::chat_ml(), "<|im_end|>"),
            (ChatTemplate::smollm2(), "<|im_end|>"),
            (
                ChatTemplate::ChatMl {
                    default_system: Some("It's \\ odd".into()),
                },
                "<|im_end|>",
            ),
            (ChatTemplate::Llama3, "<|eot_id|>"),
            (ChatTemplate::Zephyr, "</s>"),
        ] {
            let config = serde_json::json!({
                "chat_template": template.jinja_source(), "eos_token": end,
            });
            std::fs::write(&path, config.to_string()).unwrap();
            let jinja = ChatTemplate::Jinja(JinjaTemplate::load(&path).unwrap());
            for messages in [&chat[..1], &chat[..], &with_system[..]] {
                for prompt in [false, true] {
                    let ids = |template: &ChatTemplate| {
                        let chat = template.encode_chat(&tokenizer, messages, prompt);
                        tokenizer.decode(&chat.unwrap().ids)
                    };
                    assert_eq!(ids(&jinja), ids(&template), "{template:?}");
                }
            }
        }
    }
}
