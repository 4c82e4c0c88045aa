//! `eval chat` through the binary, with a judge made here.
use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::http::{listen, read_head};
use crate::teacher::Workplace;

/// What the judge was asked: headers and body.
type Request = (String, Value);

/// An endpoint on this machine that answers every request as it is told to, with a status and a text.
struct Stub {
    url: String,
    asked: Arc<Mutex<Vec<Request>>>,
}

impl Stub {
    fn new(answer: impl Fn(usize, &Value) -> (u16, Value) + Send + Sync + 'static) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let known = asked.clone();
        let address = listen(move |stream| serve(stream, &answer, &known));
        let url = format!("http://{address}/v1");
        Self { url, asked }
    }

    /// One that says `text(body)` as a completion.
    fn saying(text: impl Fn(&Value) -> String + Send + Sync + 'static) -> Self {
        Self::new(move |_, body| (200, completion(&text(body))))
    }

    fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

fn completion(text: &str) -> Value {
    json!({"choices": [{"message": {"role": "assistant", "content": text}}]})
}

fn serve(
    stream: TcpStream,
    answer: &dyn Fn(usize, &Value) -> (u16, Value),
    asked: &Mutex<Vec<Request>>,
) {
    let mut reader = BufReader::new(&stream);
    let Some(head) = read_head(&mut reader) else {
        return;
    };
    let length = head.to_lowercase();
    let length = length.split("content-length: ").nth(1).unwrap();
    let mut body = vec![0; length.lines().next().unwrap().parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let place = {
        let mut asked = asked.lock().unwrap();
        asked.push((head, body.clone()));
        asked.len() - 1
    };
    let (status, reply) = answer(place, &body);
    let reply = reply.to_string();
    let head = format!(
        "HTTP/1.1 {status} X\r\nretry-after: 0\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        reply.len()
    );
    let _ = (&stream).write_all((head + &reply).as_bytes());
}

/// The user's turn of a request.
fn user(body: &Value) -> &str {
    let messages = body["messages"].as_array().unwrap();
    messages.last().unwrap()["content"].as_str().unwrap()
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn write_lines(path: &Path, rows: &[Value]) {
    let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
    std::fs::write(path, text).unwrap();
}

/// The command, with short replies of the small teacher.
fn chat(place: &Workplace, arguments: &[&str]) -> (Option<i32>, String, String) {
    let fixed = ["eval", "chat"];
    let all = [&fixed[..], arguments].concat();
    place.run(&all)
}

const SMALL: [&str; 8] = [
    "--model",
    "teacher",
    "--out",
    "chat",
    "--reply-tokens",
    "8",
    "--judge-model",
    "stub",
];

fn report(place: &Workplace, arguments: &[&str]) -> Value {
    let (code, stdout, stderr) = chat(place, &[arguments, &["--json"]].concat());
    assert_eq!(code, Some(0), "{stderr}");
    let reports: Value = serde_json::from_str(&stdout).unwrap();
    reports[0].clone()
}

#[test]
fn two_turns_are_rated_and_what_is_there_is_not_asked_again() {
    let place = Workplace::new();
    let rows = ["writing", "math", "stem"].map(|category| {
        json!({"question_id": category, "category": category, "turns": [format!("Say {category}"), "Again"], "reference": ["one", "two"]})
    });
    write_lines(&place.path("question.jsonl"), &rows);
    // Turn 1 is worth 8, turn 2 is worth 5, and of the second of `stem` the judge says nothing that can be read.
    let judge = Stub::saying(|body| {
        let is_second = user(body).contains("turn 2");
        match (user(body).contains("Say stem"), is_second) {
            (true, true) => "I would rather not".into(),
            (_, true) => "Short. Rating: [[5]]".into(),
            (_, false) => "Good. Rating: [[8]]".into(),
        }
    });
    let mine = [
        &[
            "mt-bench",
            "--questions",
            "question.jsonl",
            "--judge",
            &judge.url,
        ],
        &SMALL[..],
    ]
    .concat();
    let found = report(&place, &mine);
    assert_eq!(
        (&found["benchmark"], &found["is_builtin"]),
        (&json!("mt-bench"), &json!(false))
    );
    assert_eq!(found["judge"], json!({"name": "stub", "is_proxy": false}));
    let score = &found["score"];
    assert_eq!(score["turns"][0]["score"]["mean"], 8.0);
    assert_eq!(
        (
            &score["turns"][1]["score"]["mean"],
            &score["turns"][1]["score"]["count"]
        ),
        (&json!(5.0), &json!(2))
    );
    assert_eq!(score["overall"]["mean"], 6.8);
    // Questions have 6.5, 6.5 and 8: a deviation of sqrt(0.75), by the root of 3.
    assert!((score["overall"]["standard_error"].as_f64().unwrap() - 0.5).abs() < 1e-12);
    assert_eq!(
        (&score["unparsable"], &score["unscored"], &score["asked"]),
        (&json!(1), &json!(1), &json!(6))
    );
    assert_eq!(
        (
            &score["categories"][2]["name"],
            &score["categories"][2]["score"]["mean"]
        ),
        (&json!("stem"), &json!(8.0))
    );
    assert_eq!(judge.count(), 6);

    let prompts = judge.asked.lock().unwrap().clone();
    let of_math = |body: &Value| user(body).contains("Say math");
    for (_, body) in &prompts {
        assert_eq!(
            user(body).contains("## Reference answer"),
            of_math(body),
            "{body}"
        );
        assert_eq!(
            (&body["model"], &body["temperature"]),
            (&json!("stub"), &json!(0))
        );
    }
    let answers = lines(&place.path("chat/answers.jsonl"));
    assert_eq!(
        (
            answers.len(),
            answers[0]["choices"][0]["turns"].as_array().unwrap().len()
        ),
        (3, 2)
    );
    let judgments = lines(&place.path("chat/judgments.jsonl"));
    assert_eq!(
        judgments
            .iter()
            .filter(|line| line["value"].is_null())
            .count(),
        1
    );

    assert_eq!(report(&place, &mine), found);
    assert_eq!(
        (
            judge.count(),
            lines(&place.path("chat/answers.jsonl")).len()
        ),
        (6, 3),
        "all of it was kept"
    );
    assert_eq!(report(&place, &[&mine[..], &["--rejudge"]].concat()), found);
    assert_eq!(judge.count(), 12);

    let (code, table, _) = chat(&place, &mine);
    assert_eq!(code, Some(0));
    assert!(
        table.starts_with("mt-bench, 3 questions, rated from 1 to 10\n"),
        "{table}"
    );
    // The answers are judged without their model, and by prompts of a file.
    let prompt = json!({"name": "single-v1", "system_prompt": "Judge this.", "prompt_template": "Q: {question} A: {answer}"});
    write_lines(&place.path("prompts.jsonl"), &[prompt]);
    let theirs = [
        "mt-bench",
        "--questions",
        "question.jsonl",
        "--judge",
        &judge.url,
        "--judge-model",
        "stub",
        "--answers",
        "chat/answers.jsonl",
        "--judge-prompts",
        "prompts.jsonl",
        "--out",
        "other",
    ];
    let other = report(&place, &theirs);
    assert_eq!(other["score"]["turns"], found["score"]["turns"]);
    assert_ne!(other["prompt_sha256"], found["prompt_sha256"]);
    let asked = judge.asked.lock().unwrap();
    assert!(
        asked[12..]
            .iter()
            .any(|(_, body)| user(body).starts_with("Q: Say writing A: "))
    );
}

#[test]
fn a_judge_that_fails_is_tried_again_and_what_it_said_is_kept() {
    let place = Workplace::new();
    let mine = |judge: &Stub, retries: &str| -> Vec<String> {
        let all = [
            "mt-bench",
            "--limit",
            "2",
            "--judge",
            &judge.url,
            "--judge-retries",
            retries,
            "--parallel",
            "1",
        ];
        all.iter()
            .chain(&SMALL)
            .map(|text| text.to_string())
            .collect()
    };
    let run = |judge: &Stub, retries: &str| {
        let arguments = mine(judge, retries);
        chat(
            &place,
            &arguments.iter().map(String::as_str).collect::<Vec<_>>(),
        )
    };
    // The third request is refused for good.
    let refusing = Stub::new(|place, _| match place {
        2 => (400, json!({"error": {"message": "no such model"}})),
        _ => (200, completion("[[6]]")),
    });
    let (code, stdout, stderr) = run(&refusing, "3");
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
    assert!(
        stderr.contains("try 1: status 400: {\"error\":{\"message\":\"no such model\"}}"),
        "{stderr}"
    );
    assert_eq!(lines(&place.path("chat/judgments.jsonl")).len(), 2);
    // Half a line of a process that was killed does no harm; each request left fails once before it succeeds.
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(place.path("chat/judgments.jsonl"))
        .unwrap();
    file.write_all(b"{\"question_id\": \"sam").unwrap();
    let flaky = Stub::new(|place, _| match place % 2 {
        0 => (503, json!("busy")),
        _ => (200, completion("[[6]]")),
    });
    let (code, _, stderr) = run(&flaky, "0");
    assert_eq!((code, flaky.count()), (Some(1), 1), "{stderr}");
    let (code, table, stderr) = run(&flaky, "1");
    assert_eq!((code, flaky.count()), (Some(0), 1 + 3), "{stderr}");
    assert!(
        table.starts_with("samples in the manner of mt-bench (not MT-Bench), 2 questions"),
        "{table}"
    );
    assert_eq!(lines(&place.path("chat/judgments.jsonl")).len(), 4);
    let talking = Stub::new(|_, _| (200, json!({"choices": []})));
    let (code, _, stderr) = chat(
        &place,
        &[
            "mt-bench",
            "--judge",
            &talking.url,
            "--answers",
            "chat/answers.jsonl",
            "--limit",
            "2",
            "--judge-model",
            "x",
            "--out",
            "y",
        ],
    );
    assert_eq!(code, Some(1));
    assert!(
        stderr.contains("no `choices.0.message.content` in the reply"),
        "{stderr}"
    );
}

#[test]
fn a_key_is_sent_and_shown_nowhere() {
    let place = Workplace::new();
    let judge = Stub::saying(|_| "[[3]]".into());
    let arguments = [
        &[
            "eval",
            "chat",
            "mt-bench",
            "--limit",
            "1",
            "--judge",
            &judge.url,
            "--judge-key-env",
            "PROBE_KEY",
        ],
        &SMALL[..],
    ]
    .concat();
    let output = place
        .distill(&arguments)
        .env("PROBE_KEY", "very-secret")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    let asked = judge.asked.lock().unwrap();
    assert!(asked.iter().all(|(head, _)| {
        head.to_lowercase()
            .contains("authorization: bearer very-secret")
    }));
    let kept = [
        "answers.jsonl",
        "judgments.jsonl",
        "rating.json",
        "rating.md",
    ]
    .map(|name| std::fs::read(place.path("chat").join(name)).unwrap());
    for bytes in kept.iter().chain([&output.stdout, &output.stderr]) {
        assert!(!String::from_utf8_lossy(bytes).contains("very-secret"));
    }
}

#[test]
fn comparisons_are_made_in_both_orders() {
    let place = Workplace::new();
    let long = "a long and careful answer";
    let rows: Vec<Value> = (0..6)
        .map(|index| json!({"instruction": format!("Do {index}"), "output": "short", "generator": "base", "dataset": "d"}))
        .collect();
    write_lines(&place.path("questions.jsonl"), &rows);
    let answers: Vec<Value> = (0..6)
        .map(|index| json!({"instruction": format!("Do {index}"), "output": if index < 4 { long } else { "no" }, "generator": "mine"}))
        .collect();
    write_lines(&place.path("answers.jsonl"), &answers);
    let judged = |judge: &Stub, more: &[&str]| {
        let fixed = [
            "alpaca-eval",
            "--questions",
            "questions.jsonl",
            "--answers",
            "answers.jsonl",
            "--judge",
            &judge.url,
            "--judge-model",
            "stub",
            "--out",
            "alpaca",
        ];
        report(&place, &[&fixed[..], more].concat())
    };
    // A judge that always takes the first output says nothing of either.
    let first = Stub::saying(|_| "m".into());
    let found = judged(&first, &[]);
    assert_eq!(
        found["outcomes"],
        json!({"wins": 0, "ties": 6, "losses": 0})
    );
    assert_eq!(
        (&found["score"]["overall"]["mean"], first.count()),
        (&json!(0.5), 12)
    );
    assert_eq!(
        (&found["baseline"], &found["mode"]),
        (&json!("base"), &json!("pairwise"))
    );
    let asked = first.asked.lock().unwrap().clone();
    assert!(
        asked
            .iter()
            .all(|(_, body)| body["logprobs"] == true && body["max_tokens"] == 1)
    );

    // One that is nine parts in ten for the careful answer, wherever it stands, and for `short` over `no`.
    let careful = Stub::new(move |_, body| {
        let asked = user(body);
        let (at, short) = (
            asked.find(long).or(asked.find("\nno\n")),
            asked.find("\nshort\n"),
        );
        let is_first = (at < short) == asked.contains(long);
        let (m, other) = if is_first {
            (0.9_f64, 0.1_f64)
        } else {
            (0.1, 0.9)
        };
        let top = json!([{"token": "m", "logprob": m.ln()}, {"token": "M", "logprob": other.ln()}]);
        let mut reply = completion("m");
        reply["choices"][0]["logprobs"] = json!({"content": [{"token": "m", "top_logprobs": top}]});
        (200, reply)
    });
    let found = judged(&careful, &["--rejudge"]);
    assert_eq!(
        found["outcomes"],
        json!({"wins": 4, "ties": 0, "losses": 2})
    );
    let win = found["score"]["overall"]["mean"].as_f64().unwrap();
    assert!((win - (4.0 * 0.9 + 2.0 * 0.1) / 6.0).abs() < 1e-12, "{win}");
    // Longer answers are the preferred ones, so that at equal length less of the lead is left.
    let equal = &found["length_controlled"];
    assert!(
        equal["win"].as_f64().unwrap() < win && equal["length"].as_f64().unwrap() > 1.0,
        "{equal}"
    );
    assert_eq!(
        (&equal["count"], &equal["difficulty"]),
        (&json!(6), &json!(null))
    );

    // MT-Bench's answers are compared where there is a baseline.
    let turn = |id: usize, model: &str| json!({"question_id": id, "model_id": model, "choices": [{"index": 0, "turns": [model, model]}]});
    let question = |id: usize| json!({"question_id": id, "category": "writing", "turns": [format!("a{id}"), "b"]});
    write_lines(&place.path("mt.jsonl"), &[question(1), question(2)]);
    write_lines(
        &place.path("mine.jsonl"),
        &[turn(1, "mine"), turn(2, "mine")],
    );
    write_lines(
        &place.path("base.jsonl"),
        &[turn(2, "base"), turn(1, "base")],
    );
    let fair = Stub::saying(|body| {
        let is_first = user(body).find("mine") < user(body).find("base");
        if is_first {
            "[[A]]".into()
        } else {
            "[[B]]".into()
        }
    });
    let found = report(
        &place,
        &[
            "mt-bench",
            "--questions",
            "mt.jsonl",
            "--answers",
            "mine.jsonl",
            "--baseline",
            "base.jsonl",
            "--judge",
            &fair.url,
            "--judge-model",
            "stub",
            "--out",
            "pairs",
        ],
    );
    assert_eq!(
        found["outcomes"],
        json!({"wins": 4, "ties": 0, "losses": 0})
    );
    assert_eq!(
        (fair.count(), &found["length_controlled"]),
        (8, &json!(null))
    );
}

#[test]
fn a_local_judge_is_marked_as_a_proxy() {
    let place = Workplace::new();
    let arguments = [
        "alpaca-eval",
        "--limit",
        "3",
        "--model",
        "teacher",
        "--out",
        "chat",
        "--reply-tokens",
        "8",
        "--judge",
        "teacher",
    ];
    let found = report(&place, &arguments);
    assert_eq!(
        (&found["judge"]["is_proxy"], &found["is_builtin"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(
        (
            &found["score"]["overall"]["count"],
            &found["score"]["unparsable"]
        ),
        (&json!(3), &json!(0))
    );
    let (code, table, _) = chat(&place, &arguments);
    assert_eq!(code, Some(0));
    assert!(
        table.contains("(not AlpacaEval)")
            && table.contains("the judge is a proxy")
            && table.contains("(proxy)"),
        "{table}"
    );
    let page = std::fs::read_to_string(place.path("chat/pairwise.md")).unwrap();
    assert!(page.contains("(proxy)"), "{page}");
    assert!(
        lines(&place.path("chat/judgments.jsonl"))
            .iter()
            .all(|line| line["is_proxy"] == true)
    );
    // Without any file or option but the judge: half of a small context is the reply's.
    let bare = [
        "mt-bench",
        "--limit",
        "1",
        "--model",
        "teacher",
        "--out",
        "bare",
        "--judge",
        "teacher",
        "--judge-tokens",
        "8",
    ];
    assert_eq!(report(&place, &bare)["questions"], 1);
    // It writes ratings too, which a model of random weights does not manage: they are counted.
    let rated = report(
        &place,
        &[
            "mt-bench",
            "--limit",
            "1",
            "--model",
            "teacher",
            "--out",
            "rated",
            "--reply-tokens",
            "8",
            "--judge",
            "teacher",
            "--judge-tokens",
            "8",
        ],
    );
    assert_eq!(
        (&rated["score"]["unparsable"], &rated["score"]["unscored"]),
        (&json!(2), &json!(2))
    );
}

#[test]
fn a_run_is_judged_and_stands_beside_the_paper() {
    let place = Workplace::new();
    let sweep = [
        "sweep",
        "--recipe",
        "recipe.toml",
        "--out",
        "run",
        "--no-tui",
        "--set",
        "sweep.stages=[\"distillation\"]",
    ];
    let (code, _, stderr) = place.run(&sweep);
    assert_eq!(code, Some(0), "{stderr}");
    let table = ["reproduce", "table-2", "--evaluated", "run"];
    let (code, _, stderr) = place.run(&table);
    assert_eq!(code, Some(2));
    assert!(
        stderr.contains("after `distill eval chat BENCHMARK --run RUN`"),
        "{stderr}"
    );

    let judge = Stub::saying(|body| {
        if body["logprobs"] == true {
            "m".into()
        } else {
            "[[9]]".into()
        }
    });
    let run = |benchmark: &str| {
        let (code, stdout, stderr) = chat(
            &place,
            &[
                benchmark,
                "--run",
                "run",
                "--limit",
                "3",
                "--reply-tokens",
                "8",
                "--judge",
                &judge.url,
                "--judge-model",
                "stub",
                "--json",
            ],
        );
        assert_eq!(code, Some(0), "{stderr}");
        serde_json::from_str::<Value>(&stdout).unwrap()
    };
    let reports = run("mt-bench");
    let names: Vec<&str> = reports
        .as_array()
        .unwrap()
        .iter()
        .map(|report| report["model"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "teacher",
            "50 % distillation",
            "0 % distillation",
            "0 % random-mixer distillation"
        ]
    );
    let (_, text, _) = place.run(&table);
    let row = |text: &str, name: &str| {
        text.lines()
            .find(|line| line.contains(name))
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        row(&text, "| 50 % distillation"),
        "| ours, on sample questions | 50 % distillation | 9.00 | 9.00 | 9.00 | - | - | stub |"
    );
    // Four models against one baseline: how difficult each instruction is, is estimated from all of them.
    let reports = run("alpaca-eval");
    assert!(
        reports[1]["length_controlled"]["difficulty"].is_number(),
        "{}",
        reports[1]
    );
    assert_eq!(run("alpaca-eval"), reports);
    let (_, text, _) = place.run(&table);
    let ours: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("| ours"))
        .collect();
    assert_eq!(ours.len(), 4, "{text}");
    assert!(
        ours[0].contains("| teacher | 9.00 |") && ours[0].ends_with("| 50.00 | stub |"),
        "{text}"
    );
    assert_eq!(
        row(&text, "| GPT-4o"),
        "| paper | GPT-4o | not listed | not listed | not listed | 57.46 | 51.33 | not listed |"
    );
}

#[test]
fn what_is_wrong_is_one_line_each() {
    let place = Workplace::new();
    let good = json!({"question_id": 1, "category": "math", "turns": ["a", "b"]});
    write_lines(
        &place.path("field.jsonl"),
        &[good.clone(), json!({"question_id": 2, "category": "math"})],
    );
    write_lines(&place.path("twice.jsonl"), &[good.clone(), good.clone()]);
    std::fs::write(place.path("empty.jsonl"), "").unwrap();
    std::fs::write(place.path("broken.jsonl"), "{\"question_id\": 1").unwrap();
    write_lines(&place.path("good.jsonl"), &[good]);
    write_lines(
        &place.path("one.jsonl"),
        &[json!({"question_id": 1, "model_id": "m", "choices": [{"turns": ["x"]}]})],
    );
    write_lines(&place.path("bare.jsonl"), &[json!({"instruction": "Do"})]);
    write_lines(
        &place.path("prompts.jsonl"),
        &[json!({"name": "single-v1", "prompt_template": "{query}", "system_prompt": ""})],
    );
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/v1", listener.local_addr().unwrap())
    };
    let mut errors = String::new();
    for arguments in [
        &["mt-bench", "--questions", "absent.jsonl"][..],
        &["mt-bench", "--questions", "field.jsonl"],
        &["mt-bench", "--questions", "twice.jsonl"],
        &["mt-bench", "--questions", "empty.jsonl"],
        &["mt-bench", "--questions", "broken.jsonl"],
        &[
            "mt-bench",
            "--questions",
            "good.jsonl",
            "--baseline",
            "one.jsonl",
        ],
        &["alpaca-eval", "--questions", "bare.jsonl"],
        &[
            "mt-bench",
            "--questions",
            "good.jsonl",
            "--judge-prompts",
            "prompts.jsonl",
        ],
        &[
            "mt-bench",
            "--judge-key-env",
            "NO_SUCH_KEY",
            "--judge-model",
            "x",
        ],
        &["mt-bench"],
        &[
            "mt-bench",
            "--limit",
            "1",
            "--judge-model",
            "x",
            "--judge-retries",
            "0",
            "--reply-tokens",
            "8",
        ],
        &["mt-bench", "--judge-model", "x", "--reply-tokens", "512"],
    ] {
        let fixed = ["--judge", &nobody, "--out", "chat", "--model", "teacher"];
        let (code, stdout, stderr) = chat(&place, &[arguments, &fixed[..]].concat());
        assert_eq!(
            (code.unwrap_or(0) > 0, stdout.as_str()),
            (true, ""),
            "{arguments:?}: {stderr}"
        );
        errors += &format!(
            "{}: {}",
            code.unwrap_or(0),
            stderr.replace(&nobody, "http://127.0.0.1:PORT/v1")
        );
    }
    insta::assert_snapshot!("chat_errors", errors);
}
