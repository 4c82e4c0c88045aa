//! What `report` writes: a page that needs nothing else, a model card, tables, TensorBoard's files.
use std::path::Path;

use crate::teacher::Workplace;

fn read(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Tags in order, without their angle brackets.
fn tags(html: &str) -> Vec<&str> {
    let mut tags = Vec::new();
    let mut rest = html;
    while let Some((_, after)) = rest.split_once('<') {
        let (tag, after) = after.split_once('>').expect("every tag ends");
        tags.push(tag);
        // What a style says is no markup.
        rest = match tag {
            "style" => after.split_once("</style>").expect("it ends").1,
            _ => after,
        };
    }
    tags
}

/// Checks that every element is closed in turn, and returns how many there are of each name.
fn check_nesting(html: &str) -> std::collections::BTreeMap<&str, usize> {
    const VOID: [&str; 4] = ["meta", "link", "br", "hr"];
    let mut open: Vec<&str> = Vec::new();
    let mut counts = std::collections::BTreeMap::new();
    for tag in tags(html) {
        let name = tag
            .split([' ', '/', '\n'])
            .find(|part| !part.is_empty())
            .unwrap();
        if tag.starts_with('!') || tag == "style" {
            continue;
        }
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "<{tag}>");
            continue;
        }
        *counts.entry(name).or_insert(0) += 1;
        if !tag.ends_with('/') && !VOID.contains(&name) {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?} are never closed");
    counts
}

/// Messages of an event file, by their frames.
fn messages(bytes: &[u8]) -> usize {
    let (mut at, mut count) = (0, 0);
    while at < bytes.len() {
        let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        at += 8 + 4 + length + 4;
        count += 1;
    }
    assert_eq!(at, bytes.len(), "the last frame is whole");
    count
}

#[test]
fn a_run_is_written_up_alone_and_beside_another() {
    let place = Workplace::new();
    let sweep = |out: &str, set: &str| {
        let arguments = [
            "sweep",
            "--recipe",
            "recipe.toml",
            "--out",
            out,
            "--set",
            set,
        ];
        let (code, _, stderr) = place.run(&arguments);
        assert_eq!(code, Some(0), "{stderr}");
    };
    sweep("one", "eval.samples=2");
    sweep("two", "sft.steps=6");
    let (code, stdout, stderr) = place.run(&["report", "one", "--tensorboard"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.starts_with("attention "), "{stdout}");
    let folder = place.path("one/report");
    let html = read(&folder, "report.html");

    let counts = check_nesting(&html);
    // Loss, CE, KL, rate and norm of distillation, the same without KL of SFT, loss, margin, accuracy, rate and norm of DPO,
    // and perplexity.
    assert_eq!(counts["figure"], 5 + 4 + 5 + 1, "{counts:?}");
    assert!(!counts.contains_key("script") && !counts.contains_key("img"));
    // Nothing is asked of any network: the one link is the empty icon.
    for tag in tags(&html) {
        for attribute in ["src=", "href=", "action="] {
            assert!(
                !tag.contains(attribute) || tag.contains("href=\"data:,\""),
                "<{tag}>"
            );
        }
    }
    let outside = html.replace("http://www.w3.org/2000/svg", "");
    assert!(!outside.contains("http:") && !outside.contains("https:") && !outside.contains("url("));
    assert!(!html.contains("NaN") && !html.contains("inf,") && !html.contains("undefined"));

    let manifest: serde_json::Value =
        serde_json::from_str(&read(&place.path("one"), "manifest.json")).unwrap();
    let hash = manifest["plan_sha256"].as_str().unwrap();
    assert!(html.contains(hash), "the plan's hash is on the page");
    if let Some(commit) = manifest["versions"]["git_commit"].as_str() {
        assert!(html.contains(commit), "so is the commit");
    }
    for text in [
        "(1) less attention, worse perplexity",
        "0 % random-mixer",
        "prefers-color-scheme: dark",
        "@media print",
        "Where is the",
        "gradient norm of each layer",
    ] {
        assert!(html.contains(text), "{text}");
    }
    // Three students of four layers.
    assert_eq!(html.matches("title=\"layer ").count(), 3 * 4);
    // Teacher, 50 %, 0 %, the control, with what was measured.
    let rows = read(&folder, "results.csv");
    assert_eq!(rows.lines().count(), 1 + 4, "{rows}");
    let steps = read(&folder, "steps.csv");
    // Two ratios of 4, 4 and 3 steps, and the control's 4.
    assert_eq!(steps.lines().count(), 1 + 2 * 11 + 4);
    assert!(
        steps
            .lines()
            .nth(1)
            .unwrap()
            .starts_with("one,chain,0.5,distillation,1,")
    );
    let card = read(&folder, "model-card.md");
    assert!(card.starts_with("---\nbase_model: \"teacher\"\n"), "{card}");
    assert!(
        card.contains("| 50 % | 2/4 |") && card.contains("checkpoints/chain/50-dpo"),
        "{card}"
    );

    let stage = folder.join("tensorboard/one/chain/50-dpo");
    let file = std::fs::read_dir(&stage)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    // The version, three steps, the measure.
    assert_eq!(messages(&std::fs::read(file).unwrap()), 1 + 3 + 1);

    let (code, _, stderr) = place.run(&["report", "one", "--compare", "two", "--out", "both"]);
    assert_eq!(code, Some(0), "{stderr}");
    let html = read(&place.path("both"), "report.html");
    check_nesting(&html);
    for text in [
        "A: one",
        "B: two",
        "A: 50 %",
        "B: 50 %",
        "What differs in the plans",
    ] {
        assert!(html.contains(text), "{text}");
    }
    assert!(html.contains("arms.0.rungs.0.stages.1.steps</td><td>4</td><td>6<"));
    assert!(!place.path("both/tensorboard").exists());

    let (code, stdout, _) = place.run(&["report", "one", "--json"]);
    assert_eq!(code, Some(0));
    let rows: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 4);
}

#[test]
fn what_data_say_is_escaped() {
    let place = Workplace::new();
    let hostile = "{\"prompt\":\"<script>alert(1)</script> & \\\"so\\\"?\",\"reply\":\"No.\"}\n";
    std::fs::write(place.path("chat.jsonl"), chats(hostile)).unwrap();
    let arguments = [
        "sweep",
        "--recipe",
        "recipe.toml",
        "--out",
        "run",
        "--set",
        "eval.samples=9",
        "--set",
        "data.seq_len=160",
    ];
    let (code, _, stderr) = place.run(&arguments);
    assert_eq!(code, Some(0), "{stderr}");
    let (code, _, stderr) = place.run(&["report", "run"]);
    assert_eq!(code, Some(0), "{stderr}");
    let html = read(&place.path("run/report"), "report.html");
    check_nesting(&html);
    assert!(html.contains("&lt;script&gt;alert("), "a prompt is shown");
    assert!(!html.contains("<script"));
}

/// The hostile prompt in as many forms as a split needs.
fn chats(hostile: &str) -> String {
    let numbers = 1..14;
    numbers
        .map(|number| hostile.replace("alert(1)", &format!("alert({number})")))
        .collect()
}
