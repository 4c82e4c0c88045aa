//! A teacher that is asked once, through the binary.
use crate::teacher::Workplace;

const CACHED: [&str; 8] = [
    "--set",
    "teacher_cache.k=9",
    "--set",
    "distillation.divergence=top-k",
    "--set",
    "distillation.top_k=9",
    "--set",
    "sweep.stages=[\"distillation\"]",
];

#[test]
fn arms_share_a_cache_and_a_damaged_shard_is_written_again() {
    let place = Workplace::new();
    let new = ["sweep", "--recipe", "recipe.toml", "--no-tui", "--out"];
    let run = |out: &str, more: &[&str]| {
        let arguments = [&new[..], &[out], &CACHED, more].concat();
        let (code, stdout, stderr) = place.run(&arguments);
        assert_eq!(code, Some(0), "{stderr}");
        stdout
    };
    let whole = run("whole", &[]);
    let line = whole.lines().last().unwrap();
    assert!(
        line.starts_with("teacher cache of distillation: the 9 likeliest tokens;"),
        "{whole}"
    );
    assert!(!place.path("whole/teacher-cache/sft").exists());
    let page = std::fs::read_to_string(place.path("whole/report.md")).unwrap();
    assert!(page.contains(line), "{page}");

    // Arm by arm, and with a shard that was damaged between them.
    run("parts", &["--arm", "50"]);
    let shard = "parts/teacher-cache/distillation/shard-00000.bin";
    let written = std::fs::read(place.path(shard)).unwrap();
    let mut damaged = written.clone();
    damaged[3] ^= 64;
    std::fs::write(place.path(shard), damaged).unwrap();
    let arguments = ["sweep", "--resume", "parts", "--no-tui", "--arm"];
    for arm in ["0", "control-random-mixer"] {
        let (code, _, stderr) = place.run(&[&arguments[..], &[arm]].concat());
        assert_eq!(code, Some(0), "{stderr}");
        let is_mended = stderr.contains("is not as it was written: it is written again");
        assert_eq!(is_mended, arm == "0", "{stderr}");
    }
    assert!(std::fs::read(place.path(shard)).unwrap() == written);
    let (_, stdout, _) = place.run(&["report", "parts"]);
    let untimed = |table: &str| -> Vec<String> {
        let columns = |line: &str| {
            line.split_whitespace()
                .take(5)
                .collect::<Vec<_>>()
                .join(" ")
        };
        table.lines().map(columns).collect()
    };
    assert_eq!(untimed(&stdout), untimed(&whole));
}
