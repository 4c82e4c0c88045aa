use super::*;

const SPECIALS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

fn trained() -> Tokenizer {
    let texts = [
        "the snake saw the other snake",
        "12 34 snakes, the end.",
        "naïve café",
    ];
    Tokenizer::train_bpe(texts, 300, &SPECIALS).unwrap()
}

#[test]
fn training_is_deterministic_and_puts_specials_first() {
    let (a, b) = (trained(), trained());
    assert_eq!(a.to_json().unwrap(), b.to_json().unwrap());
    for (id, token) in SPECIALS.iter().enumerate() {
        assert_eq!(a.special_id(token), Some(id as u32));
    }
    assert!(a.vocab_size() > 256 + SPECIALS.len() && a.vocab_size() <= 300);
}

#[test]
fn training_refuses_a_vocabulary_without_room_for_bytes() {
    let error = Tokenizer::train_bpe(["a"], 258, &SPECIALS).unwrap_err();
    assert_eq!(
        error.to_string(),
        "tokenizer `BPE training`: vocab_size is 258, must be at least 259"
    );
}

#[test]
fn any_text_comes_back_and_digits_stand_alone() {
    let tokenizer = trained();
    for text in [
        "",
        "the snake",
        "  a\n\n\tb 1234",
        "日本語 👍🏽 \u{4}\u{0}",
        "x<|im_end|>y",
    ] {
        assert_eq!(tokenizer.decode(&tokenizer.encode(text)), text);
    }
    assert_eq!(tokenizer.encode("1234").len(), 4);
}

#[test]
fn specials_in_text_are_recognised_only_on_request() {
    let tokenizer = trained();
    let text = "a<|im_end|>b";
    let end = tokenizer.special_id("<|im_end|>").unwrap();
    assert!(!tokenizer.encode(text).contains(&end));
    assert_eq!(
        tokenizer
            .encode_with_specials(text)
            .iter()
            .filter(|id| **id == end)
            .count(),
        1
    );
    assert_eq!(
        tokenizer.decode(&tokenizer.encode_with_specials(text)),
        text
    );
    assert_eq!(
        tokenizer.decode_without_specials(&tokenizer.encode_with_specials(text)),
        "ab"
    );
}

#[test]
fn a_saved_tokenizer_is_the_same_tokenizer() {
    let dir = tempfile::tempdir().unwrap();
    let tokenizer = trained();
    tokenizer.save(dir.path()).unwrap();
    let loaded = Tokenizer::load(dir.path()).unwrap();
    assert_eq!(loaded.to_json().unwrap(), tokenizer.to_json().unwrap());
    let text = "the snake<|im_end|> 12";
    assert_eq!(loaded.encode(text), tokenizer.encode(text));
    assert_eq!(
        loaded.encode_with_specials(text),
        tokenizer.encode_with_specials(text)
    );
}

#[test]
fn broken_files_are_errors_that_name_them() {
    let dir = tempfile::tempdir().unwrap();
    let missing = Tokenizer::load(dir.path()).unwrap_err();
    assert!(matches!(missing, ModelError::Io { ref path, .. } if path.ends_with("tokenizer.json")));
    std::fs::write(dir.path().join("tokenizer.json"), "{\"model\": 3}").unwrap();
    let broken = Tokenizer::load(dir.path()).unwrap_err().to_string();
    assert!(broken.contains("tokenizer.json"), "{broken}");
}

#[test]
fn offsets_point_at_the_text_of_each_token() {
    let text = "the café 12";
    let pairs = trained().encode_with_offsets(text);
    assert_eq!(
        pairs.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
        trained().encode(text)
    );
    assert!(pairs.windows(2).all(|pair| pair[0].1 <= pair[1].1));
    assert_eq!(pairs.last().unwrap().1, text.len() - 1);
}
