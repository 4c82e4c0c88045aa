//! Which chat template a model is spoken to with.
use std::path::Path;

use model::{ChatTemplate, JinjaTemplate, Message, ModelError, Tokenizer};

use crate::builtin::local_path;

/// The template of the `tokenizer_config.json` in the model's folder where it can be used, else that whose control tokens the
/// tokenizer has.
///
/// # Errors
/// A template of its own that cannot be used where there is no other; an address of the hub that cannot be resolved.
pub(super) fn of_model(
    path: &Path,
    tokenizer: Option<&Tokenizer>,
) -> anyhow::Result<Option<ChatTemplate>> {
    let Some(tokenizer) = tokenizer else {
        return Ok(None);
    };
    let detected = ChatTemplate::detect(tokenizer);
    let file = local_path(path)?.join("tokenizer_config.json");
    let has_own = || -> Option<bool> {
        let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).ok()?).ok()?;
        Some(json["chat_template"].is_string())
    };
    if has_own() != Some(true) {
        return Ok(detected);
    }
    match (usable(&file, tokenizer), detected) {
        (Ok(own), _) => Ok(Some(own)),
        (Err(_), Some(detected)) => Ok(Some(detected)),
        (Err(error), None) => Err(error.into()),
    }
}

/// The template of `file`, tried on a conversation: it may ask for functions that there are not here.
fn usable(file: &Path, tokenizer: &Tokenizer) -> Result<ChatTemplate, ModelError> {
    let template = ChatTemplate::Jinja(JinjaTemplate::load(file)?);
    template.end_of_turn(tokenizer)?;
    let chat = [
        Message::user("Hi"),
        Message::assistant("Hello"),
        Message::user("More"),
    ];
    template.encode_chat(tokenizer, &chat, true)?;
    Ok(template)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_of_its_own_wins_if_it_works() {
        let dir = tempfile::tempdir().unwrap();
        let write = |source: &str| {
            let json = serde_json::json!({"chat_template": source, "eos_token": "</s>"});
            std::fs::write(dir.path().join("tokenizer_config.json"), json.to_string()).unwrap();
        };
        let specials = ["<|im_start|>", "<|im_end|>", "</s>"];
        let tokenizer = Tokenizer::train_bpe(["a"], 300, &specials).unwrap();
        let of = |tokenizer: &Tokenizer| of_model(dir.path(), Some(tokenizer));
        assert_eq!(of(&tokenizer).unwrap(), Some(ChatTemplate::chat_ml()));
        write(
            "{% for m in messages %}[{{ m.content }}]{% if m.role == 'assistant' %}</s>{% endif %}{% endfor %}",
        );
        let own = of(&tokenizer).unwrap();
        assert!(matches!(own, Some(ChatTemplate::Jinja(_))), "{own:?}");
        write("{{ strftime_now('%d') }}");
        assert_eq!(of(&tokenizer).unwrap(), Some(ChatTemplate::chat_ml()));
        let plain = Tokenizer::train_bpe(["a"], 300, &[]).unwrap();
        assert!(of(&plain).is_err());
        assert_eq!(of_model(dir.path(), None).unwrap(), None);
    }
}
