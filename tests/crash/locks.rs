//! One trainer a run folder, and none that is gone.
use std::process::Stdio;

use crate::reference::Reference;

#[test]
fn a_second_trainer_is_refused_and_a_killed_one_leaves_no_lock() {
    let reference = Reference::new();
    let place = &reference.place;
    std::fs::create_dir_all(place.path("run")).unwrap();
    let start = |arguments: &[&str]| {
        let mut command = place.distill(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    };
    let mut first = start(&["sweep", "--recipe", "recipe.toml", "--out", "run"]);
    let requests = place.path("run/requests/events");
    let log = place.path("run/events.jsonl");
    while !log.exists() {
        assert!(first.try_wait().unwrap().is_none(), "it ended");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    std::fs::create_dir_all(&requests).unwrap();
    std::fs::write(requests.join("pause"), "").unwrap();
    let is_paused = || {
        let log = std::fs::read_to_string(&log).unwrap();
        log.contains("\"event\":\"paused\"")
    };
    while !is_paused() {
        assert!(first.try_wait().unwrap().is_none(), "it ended");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let before = std::fs::read(&log).unwrap();
    let (code, _, stderr) = place.run(&["sweep", "--resume", "run"]);
    assert_eq!(code, Some(1), "{stderr}");
    let owner = format!("is in use by process {}", first.id());
    assert!(
        stderr.contains(&owner) && stderr.contains("hint: wait for it"),
        "{stderr}"
    );
    assert!(
        std::fs::read(&log).unwrap() == before,
        "it wrote into the run"
    );

    first.kill().unwrap();
    first.wait().unwrap();
    let lock = std::fs::read_to_string(place.path("run/lock")).unwrap();
    assert_eq!(lock.trim(), first.id().to_string());
    let (code, _, stderr) = place.run(&["sweep", "--resume", "run"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(reference.difference(&place.path("run")), None);
}
