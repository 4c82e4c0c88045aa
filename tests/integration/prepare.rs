//! Data prepared by the binary, then trained on.
use crate::teacher::Workplace;

const PREPARE: [&str; 8] = [
    "data",
    "prepare",
    "--model",
    "teacher",
    "--out",
    "prepared",
    "--chat",
    "chat.jsonl",
];

/// A recipe that takes the prepared folder.
fn recipe(place: &Workplace) {
    let recipe = std::fs::read_to_string(place.path("recipe.toml")).unwrap();
    let recipe = recipe
        .replace("chat = [\"chat.jsonl\"]", "prepared = \"prepared\"")
        .replace("preferences = [\"pairs.jsonl\"]\n", "")
        .replace("pseudo_labels = 6\n", "packing = \"exact\"\n")
        .replace("attention_ratios = [0.5, 0.0]", "attention_ratios = [0.5]")
        .replace(
            "controls = [{ init = \"random-mixer\", attention_ratios = [0.0] }]\n",
            "",
        );
    std::fs::write(place.path("recipe.toml"), recipe).unwrap();
}

#[test]
fn a_sweep_trains_on_packed_rows_of_a_prepared_folder() {
    let place = Workplace::new();
    let mut prepare = PREPARE.to_vec();
    prepare.extend(["--preferences", "pairs.jsonl"]);
    let (code, _, stderr) = place.run(&prepare);
    assert_eq!(code, Some(0), "{stderr}");
    // Twelve chats and both sides of six pairs, which ask what chats ask.
    assert!(
        stderr.starts_with("24 documents, ")
            && stderr.contains(
                "in `prepared`; left out: 0 bad, 0 repeated\n6 rows have the prompt of another"
            ),
        "{stderr}"
    );
    recipe(&place);
    let (code, stdout, stderr) = place.run(&["sweep", "--recipe", "recipe.toml", "--out", "run"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("50 %"), "{stdout}");

    // A shard with one changed byte.
    let shard = place.path("prepared/00000-chat.shard");
    let mut bytes = std::fs::read(&shard).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&shard, bytes).unwrap();
    let (code, _, stderr) = place.run(&["sweep", "--recipe", "recipe.toml", "--out", "again"]);
    assert_eq!(code, Some(1));
    assert!(
        stderr.contains("00000-chat.shard`: content with sha256")
            && stderr.contains("was changed or damaged (prepare the data again)"),
        "{stderr}"
    );
}

#[test]
fn a_folder_of_another_tokenizer_is_refused() {
    let place = Workplace::new();
    let mut prepare = PREPARE.to_vec();
    prepare[3] = "builtin:tiny";
    let (code, _, stderr) = place.run(&prepare);
    assert_eq!(code, Some(0), "{stderr}");
    recipe(&place);
    let run = [
        "sweep",
        "--recipe",
        "recipe.toml",
        "--set",
        "sweep.stages=[\"sft\"]",
    ];
    let (code, _, stderr) = place.run(&run);
    assert_eq!(code, Some(1));
    assert!(
        stderr.contains("`prepared`: data prepared with the tokenizer")
            && stderr.contains("(prepare it again with `--model` the teacher)"),
        "{stderr}"
    );
}

#[test]
fn bad_rows_end_with_1_and_a_hint_or_are_counted() {
    let place = Workplace::new();
    let rows = "{\"prompt\":\"a\",\"reply\":\"b\"}\n{\"prompt\":\"a\"}\nnothing\n";
    std::fs::write(place.path("chat.jsonl"), rows).unwrap();
    let (code, _, stderr) = place.run(&PREPARE);
    assert_eq!(code, Some(1));
    insta::assert_snapshot!("prepare_bad_row", stderr);
    let mut skip = PREPARE.to_vec();
    skip.push("--skip-bad");
    let (code, _, stderr) = place.run(&skip);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(
        stderr.contains("left out: chat.jsonl: row 3: not JSON")
            && stderr.ends_with("left out: 2 bad, 0 repeated\n"),
        "{stderr}"
    );
    let (code, _, stderr) = place.run(&PREPARE);
    assert_eq!(code, Some(2), "{stderr}");
}

#[test]
fn a_tokenizer_config_writes_chats_and_refuses_single_rows() {
    let place = Workplace::new();
    let config = serde_json::json!({
        "chat_template": "{% for m in messages %}<|im_start|>{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}\
            {% if add_generation_prompt %}<|im_start|>assistant: {% endif %}",
        "eos_token": "<|im_end|>",
    });
    std::fs::write(place.path("tokenizer_config.json"), config.to_string()).unwrap();
    let rows = "{\"prompt\":\"a\",\"reply\":\"b\"}\n{\"prompt\":\"c<|im_end|>\",\"reply\":\"d\"}\n";
    std::fs::write(place.path("chat.jsonl"), rows).unwrap();
    let mut prepare = PREPARE.to_vec();
    prepare.extend(["--tokenizer-config", "tokenizer_config.json"]);
    let (code, _, stderr) = place.run(&prepare);
    assert_eq!(code, Some(1));
    assert!(
        stderr.contains("chat.jsonl`: row 2: chat template of `tokenizer_config.json`")
            && stderr.contains("control token `<|im_end|>`"),
        "{stderr}"
    );
    prepare.push("--skip-bad");
    let (code, _, stderr) = place.run(&prepare);
    assert_eq!(code, Some(0), "{stderr}");
    let manifest = std::fs::read(place.path("prepared/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let template = manifest["template"].as_str().unwrap();
    assert!(template.starts_with("jinja with sha256 "), "{template}");
    assert_eq!(manifest["inputs"][0]["bad"], 1);
    assert_eq!(manifest["shards"][0]["documents"], 1);
}
