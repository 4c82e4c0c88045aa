use std::collections::HashSet;

use super::*;
use crate::recipe::{Recipe, default_recipe};
use crate::testing::chat_tokenizer;

/// Two files of chats and one of pairs that ask the same prompts, as files and as a prepared folder.
fn repeating(dir: &Path, is_prepared: bool) -> Sources {
    let write = |name: &str, rows: Vec<String>| {
        let path = dir.join(name);
        std::fs::write(&path, rows.join("\n")).unwrap();
        path
    };
    let chat = |prompt: usize, reply: &str| {
        serde_json::json!({"prompt": format!("prompt {prompt}"), "reply": reply}).to_string()
    };
    let first = (0..40).flat_map(|i| [chat(i, "one"), chat(i, "two"), chat(i, "one")]);
    let first = write("first.jsonl", first.collect());
    let second = write("second.jsonl", (0..80).map(|i| chat(i, "three")).collect());
    let pair = |i: usize| {
        let prompt = format!("prompt {i}");
        serde_json::json!({"prompt": prompt, "chosen": "a", "rejected": "b"}).to_string()
    };
    let pairs = write("pairs.jsonl", (0..80).map(pair).collect());
    let folder = dir.join("prepared");
    let tokenizer = chat_tokenizer();
    let source = |kind, path: &std::path::PathBuf| prepared::Source {
        kind,
        path: path.clone(),
    };
    let sources = [
        source(Kind::Chat, &first),
        source(Kind::Chat, &second),
        source(Kind::Preferences, &pairs),
    ];
    let template = ChatTemplate::chat_ml();
    if is_prepared {
        prepared::prepare(&sources, &tokenizer, (&template, "t"), &folder, false).unwrap();
    }
    let recipe = Recipe::parse(default_recipe(None), "default", &[]).unwrap();
    let plan = Plan::resolve(&recipe, "default").unwrap();
    let sources = match is_prepared {
        true => prepared_sources(&plan, &tokenizer, &folder),
        false => file_sources(&plan, &tokenizer, &[first, second], &[], &[pairs]),
    };
    sources.unwrap()
}

#[test]
fn no_prompt_is_trained_on_and_held_out_whatever_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let sources = repeating(dir.path(), false);
    let prompts = |chats: &[Chat]| -> HashSet<String> {
        let prompt = |chat: &Chat| chat.messages[0].content.clone();
        chats.iter().map(prompt).collect()
    };
    let (train, held_out) = (prompts(&sources.sft), prompts(&sources.held_out));
    assert_eq!((train.len(), held_out.len()), (72, 8));
    assert!(train.is_disjoint(&held_out));
    assert_eq!(sources.sft.len() + sources.held_out.len(), 160);
    assert!(!sources.pairs.is_empty());
    for pair in &sources.pairs {
        assert!(!held_out.contains(&pair.prompt[0].content));
    }
    let repeats = sources.repeats;
    assert_eq!((repeats.rows, repeats.prompts), (40, 40 + 40 + 80));
}

#[test]
fn no_prompt_of_a_prepared_folder_is_trained_on_and_held_out() {
    let dir = tempfile::tempdir().unwrap();
    let sources = repeating(dir.path(), true);
    let prompts = |documents: &ExampleSet| -> HashSet<Key> {
        let prompt = |index| documents.get(index).unwrap().keys().0;
        (0..documents.len()).map(prompt).collect()
    };
    let (train, held_out) = (prompts(&sources.text), prompts(&sources.held_out_text));
    assert_eq!((train.len(), held_out.len()), (72, 8));
    assert!(train.is_disjoint(&held_out));
    assert_eq!(sources.text.len() + sources.held_out_text.len(), 160);
    let pairs = &sources.prepared_pairs;
    assert_eq!(pairs.len(), 72);
    for index in 0..pairs.len() {
        let (prompt, _) = pairs.get(index).unwrap().chosen.keys();
        assert!(!held_out.contains(&prompt));
    }
}

#[test]
fn lists_are_taken_in_turn() {
    let chats = |names: &[&str]| -> Vec<Chat> {
        names
            .iter()
            .map(|name| Chat {
                id: (*name).into(),
                messages: Vec::new(),
            })
            .collect()
    };
    let all = alternate(chats(&["a", "b", "c"]), chats(&["1"]));
    assert_eq!(
        all.iter().map(|chat| chat.id.as_str()).collect::<String>(),
        "a1bc"
    );
}

#[test]
fn eval_tasks_are_the_same_each_time_and_of_all_kinds() {
    let tasks = eval_tasks(5);
    assert_eq!(tasks, eval_tasks(5));
    assert!(
        TaskKind::ALL
            .iter()
            .all(|kind| tasks.iter().filter(|t| t.kind == *kind).count() == 5)
    );
}

#[test]
fn tasks_are_as_many_as_the_steps_take_up_to_a_bound() {
    let counts = |steps: usize| {
        let set = [
            "distillation.batch_size=4".to_owned(),
            format!("distillation.steps={steps}"),
            "sft.steps=8".to_owned(),
            "dpo.batch_size=2".to_owned(),
            format!("dpo.steps={steps}"),
        ];
        let recipe = Recipe::parse(default_recipe(None), "default", &set).unwrap();
        task_counts(&Plan::resolve(&recipe, "default").unwrap())
    };
    assert_eq!(counts(100_000), (200_000, 200_000));
    // So many that their product is no number of 64 bits.
    for steps in [100_000_000, 1 << 62] {
        assert_eq!(counts(steps), (MOST_TASKS, MOST_TASKS));
    }
}

#[test]
fn prompts_from_templates_are_neither_held_out_nor_kept_for_measuring() {
    let set = |text: &str| text.to_owned();
    let overrides = [
        set("data.pseudo_labels=900"),
        set("data.template_prompts=500"),
    ];
    let recipe = Recipe::parse(default_recipe(None), "default", &overrides).unwrap();
    let plan = Plan::resolve(&recipe, "default").unwrap();
    let chats = |from: usize, count: usize| -> Vec<Chat> {
        let templates = Prompts::new(PromptKind::All, plan.seed ^ TEMPLATE_SEED);
        let texts = templates.skip(from).take(count);
        texts.map(Chat::from_prompt).collect()
    };
    let (mut prompts, held_out) = (chats(0, 300), chats(300, 100));
    let text = |chat: &Chat| chat.messages[0].content.clone();
    add_template_prompts(&mut prompts, &plan, &held_out);
    let found: HashSet<String> = prompts.iter().map(text).collect();
    assert_eq!(found.len(), prompts.len());
    assert!(!held_out.iter().any(|chat| found.contains(&text(chat))));
    assert!(!found.iter().any(|text| prompts::is_for_measuring(text)));
    // Of those given about a tenth went.
    let given = chats(0, 300)
        .iter()
        .filter(|chat| found.contains(&text(chat)))
        .count();
    assert!((250..290).contains(&given), "{given}");
    assert_eq!(prompts.len(), given + 500);
}
