//! Models and benchmarks from a hub that is made here.
use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Output;
use std::sync::{Arc, Mutex};

use crate::http::{listen, read_head};
use crate::teacher::Workplace;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A hub with files of one repository, by name, which notes what it is asked for.
struct Hub {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

/// Name, hash that it is stored under, and bytes.
type HubFile = (String, String, Vec<u8>);

impl Hub {
    fn new(files: Vec<HubFile>) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let known = asked.clone();
        let address = listen(move |stream| serve(stream, &files, &known));
        let url = format!("http://{address}");
        Self { url, asked }
    }

    fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

fn serve(stream: TcpStream, files: &[HubFile], asked: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(&stream);
    let Some(head) = read_head(&mut reader) else {
        return;
    };
    asked.lock().unwrap().push(head.clone());
    let path = head.split(' ').nth(1).unwrap();
    let (status, headers, body) = if path.starts_with("/api/") {
        let names: Vec<_> = files
            .iter()
            .map(|(name, ..)| serde_json::json!({"rfilename": name}))
            .collect();
        let info = serde_json::json!({"siblings": names, "sha": COMMIT});
        (200, String::new(), info.to_string().into_bytes())
    } else if let Some((_, etag, bytes)) = files
        .iter()
        .find(|(name, ..)| path.ends_with(&format!("/{name}")))
    {
        let lower = head.to_lowercase();
        let range = lower
            .split("range: bytes=")
            .nth(1)
            .unwrap()
            .lines()
            .next()
            .unwrap();
        let (from, to) = range.split_once('-').unwrap();
        let from: usize = from.parse().unwrap();
        let to = to.parse().map_or(bytes.len(), |to: usize| to + 1);
        let headers = format!(
            "x-repo-commit: {COMMIT}\r\netag: \"{etag}\"\r\ncontent-range: bytes {from}-{}/{}\r\n",
            to - 1,
            bytes.len()
        );
        (206, headers, bytes[from..to].to_vec())
    } else {
        (404, String::new(), Vec::new())
    };
    let head = format!(
        "HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let _ = (&stream).write_all(&[head.as_bytes(), &body].concat());
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The files of the small teacher, weights under their hash as large files are.
fn model_files(place: &Workplace) -> Vec<HubFile> {
    let read = |name: &str| std::fs::read(place.path("teacher").join(name)).unwrap();
    let weights = read("model.safetensors");
    vec![
        ("config.json".into(), "c0ffee".into(), read("config.json")),
        (
            "tokenizer.json".into(),
            "decade".into(),
            read("tokenizer.json"),
        ),
        ("model.safetensors".into(), sha256(&weights), weights),
        ("onnx/model.onnx".into(), "facade".into(), vec![0; 9]),
    ]
}

fn run(place: &Workplace, endpoint: &str, arguments: &[&str]) -> Output {
    let mut command = place.distill(arguments);
    command
        .env("HF_HOME", place.path("hub-home"))
        .env("HF_ENDPOINT", endpoint);
    command
        .env_remove("HF_HUB_OFFLINE")
        .env_remove("HF_TOKEN")
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

const TASKS: [&str; 10] = [
    "eval", "tasks", "--count", "1", "--pairs", "2", "--json", "--seed", "3", "--model",
];

#[test]
fn a_model_comes_once_and_goes_on_where_it_was_stopped() {
    let place = Workplace::new();
    let files = model_files(&place);
    let (weights_hash, weights) = (files[2].1.clone(), files[2].2.clone());
    let hub = Hub::new(files);
    // Half of the weights came before: the rest alone is asked for.
    let blobs = place.path("hub-home/hub/models--owner--probe/blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    let half = weights.len() / 2;
    std::fs::write(blobs.join(format!("{weights_hash}.part")), &weights[..half]).unwrap();
    let arguments = [&TASKS[..], &["hf://owner/probe@v1"]].concat();
    let found = run(&place, &hub.url, &arguments);
    assert_eq!(found.status.code(), Some(0), "{}", stderr(&found));
    let local = place.run(&[&TASKS[..], &["teacher"]].concat());
    assert_eq!(String::from_utf8(found.stdout).unwrap(), local.1);
    let asked = hub.asked.lock().unwrap().clone();
    assert!(asked.iter().any(|head| {
        head.to_lowercase()
            .contains(&format!("range: bytes={half}-"))
    }));
    assert!(
        asked
            .iter()
            .any(|head| head.starts_with("GET /owner/probe/resolve/v1/config.json ")),
        "{asked:?}"
    );
    assert!(!asked.iter().any(|head| head.contains("onnx")));
    // Nobody is asked again, not even whether it has changed.
    let again = run(&place, "http://127.0.0.1:9", &arguments);
    assert_eq!(
        (again.status.code(), hub.count()),
        (Some(0), asked.len()),
        "{}",
        stderr(&again)
    );
}

#[test]
fn weights_that_are_not_what_the_hub_says_are_refused() {
    let place = Workplace::new();
    let mut files = model_files(&place);
    files[2].1 = sha256(b"other bytes");
    let hub = Hub::new(files);
    let found = run(
        &place,
        &hub.url,
        &[&TASKS[..], &["hf://owner/probe"]].concat(),
    );
    assert_eq!(found.status.code(), Some(1));
    assert!(
        stderr(&found).contains("`model.safetensors` came with sha256"),
        "{}",
        stderr(&found)
    );
    let blobs = std::fs::read_dir(place.path("hub-home/hub/models--owner--probe/blobs")).unwrap();
    let names: Vec<String> = blobs
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(!names.contains(&sha256(b"other bytes")), "{names:?}");
}

#[test]
fn benchmarks_are_put_where_they_are_looked_for() {
    let place = Workplace::new();
    // What a file holds does not matter to who carries it.
    let file = |name: &str| {
        (
            name.to_owned(),
            format!("{:x}", name.len() * 7919),
            name.as_bytes().to_vec(),
        )
    };
    let hub = Hub::new(vec![
        file("plain_text/validation/0000.parquet"),
        file("plain_text/validation/0001.parquet"),
        file("plain_text/train/0000.parquet"),
        file("plain_text/test/0000.parquet"),
    ]);
    let arguments = ["data", "fetch", "piqa", "--tasks-dir", "tasks"];
    let found = run(&place, &hub.url, &arguments);
    assert_eq!(found.status.code(), Some(0), "{}", stderr(&found));
    assert_eq!(
        String::from_utf8(found.stdout).unwrap(),
        "tasks/piqa/validation-0000.parquet\ntasks/piqa/validation-0001.parquet\ntasks/piqa/train-0000.parquet\n"
    );
    let written =
        std::fs::read_to_string(place.path("tasks/piqa/validation-0001.parquet")).unwrap();
    assert_eq!(written, "plain_text/validation/0001.parquet");
    let head = hub.asked.lock().unwrap()[0].clone();
    assert!(
        head.starts_with("GET /api/datasets/ybisk/piqa/revision/refs%2Fconvert%2Fparquet "),
        "{head}"
    );
    let again = run(&place, "http://127.0.0.1:9", &arguments);
    assert_eq!((again.status.code(), again.stdout), (Some(0), Vec::new()));
    let missing = run(
        &place,
        &hub.url,
        &["data", "fetch", "mmlu", "--tasks-dir", "tasks"],
    );
    assert!(
        stderr(&missing).contains("it has no file of that configuration and split"),
        "{}",
        stderr(&missing)
    );
}

#[test]
fn without_a_network_the_cure_is_named() {
    let place = Workplace::new();
    let mut errors = String::new();
    let mut note = |found: Output| {
        let text = stderr(&found).replace(&place.path("").display().to_string(), "FOLDER/");
        errors += &format!("{}: {text}", found.status.code().unwrap_or(0));
    };
    let model = |address: &str| {
        run(
            &place,
            "http://127.0.0.1:9",
            &[&TASKS[..], &[address]].concat(),
        )
    };
    note(model("hf://owner/probe"));
    note(model("hf://probe"));
    let mut offline = place.distill(&[&TASKS[..], &["hf://owner/probe"]].concat());
    offline
        .env("HF_HOME", place.path("hub-home"))
        .env("HF_HUB_OFFLINE", "1");
    note(offline.output().unwrap());
    note(run(
        &place,
        "http://127.0.0.1:9",
        &["data", "fetch", "piqa", "--tasks-dir", "tasks"],
    ));
    note(run(
        &place,
        "http://127.0.0.1:9",
        &[
            "eval",
            "zero-shot",
            "piqa",
            "--model",
            "teacher",
            "--tasks-dir",
            "tasks",
        ],
    ));
    insta::assert_snapshot!("hub_errors", errors);
    assert!(!Path::new(&place.path("tasks/piqa")).exists());
}
