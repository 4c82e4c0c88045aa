//! The tokenizer rebuilt from GGUF metadata, string by string.

use model::{ChatTemplate, Message, Role, Tokenizer};
use serde_json::Value;

use crate::files::{fixture, gguf, ids};

/// The reference disagrees with another implementation on this one string: not binding.
const NOT_BINDING: &str = "ctl:";

#[test]
fn strings_give_the_expected_ids_and_come_back() {
    let Some(file) = gguf() else { return };
    let tokenizer = Tokenizer::from_gguf(&file).unwrap();
    let golden = fixture("tokenizer_cases.json");
    assert_eq!(
        tokenizer.vocab_size() as u64,
        golden["vocab"].as_u64().unwrap()
    );
    for (token, id) in golden["specials"].as_object().unwrap() {
        assert_eq!(
            tokenizer.special_id(token).map(u64::from),
            id.as_u64(),
            "{token}"
        );
    }
    let mut checked = 0;
    for case in golden["cases"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        if text.starts_with(NOT_BINDING) {
            continue;
        }
        let with_specials = ids(&case["ids"]);
        let plain = match &case["ids_specials_as_text"] {
            Value::Null => with_specials.clone(),
            other => ids(other),
        };
        assert_eq!(
            tokenizer.encode_with_specials(text),
            with_specials,
            "{text:?}"
        );
        assert_eq!(tokenizer.encode(text), plain, "{text:?} as plain text");
        assert_eq!(
            tokenizer.decode(&with_specials),
            case["decoded"].as_str().unwrap()
        );
        checked += 1;
    }
    assert_eq!(checked, 21);
}

#[test]
fn a_tokenizer_saved_from_gguf_loads_as_the_same() {
    let Some(file) = gguf() else { return };
    let tokenizer = Tokenizer::from_gguf(&file).unwrap();
    let dir = tempfile::tempdir().unwrap();
    tokenizer.save(dir.path()).unwrap();
    let loaded = Tokenizer::load(dir.path()).unwrap();
    for case in fixture("tokenizer_cases.json")["cases"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        assert_eq!(loaded.encode(text), tokenizer.encode(text), "{text:?}");
        assert_eq!(
            loaded.encode_with_specials(text),
            tokenizer.encode_with_specials(text)
        );
    }
}

#[test]
fn conversations_are_encoded_as_the_template_renders_them() {
    let Some(file) = gguf() else { return };
    let tokenizer = Tokenizer::from_gguf(&file).unwrap();
    let template = ChatTemplate::detect(&tokenizer).unwrap();
    assert_eq!(template, ChatTemplate::smollm2());
    for record in fixture("forward.json")["greedy"].as_array().unwrap() {
        let messages = record["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|message| {
                let role = if message["role"] == "system" {
                    Role::System
                } else {
                    Role::User
                };
                Message::new(role, message["content"].as_str().unwrap())
            });
        let messages: Vec<_> = messages.collect();
        let chat = template.encode_chat(&tokenizer, &messages, true).unwrap();
        assert_eq!(chat.ids, ids(&record["prompt_ids"]), "{}", record["name"]);
        assert!(chat.loss_mask.iter().all(|target| !target));
    }
}
