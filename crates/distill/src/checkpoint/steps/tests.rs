use burn::tensor::TensorData;

use super::*;

fn progress(step: usize) -> StageProgress {
    StageProgress {
        step,
        applied_steps: step,
        skipped_steps: 0,
        tokens: 7 * step as u64,
        order: OrderPosition::default(),
        guard: GuardCounts::default(),
    }
}

fn tensors(step: usize) -> Tensors {
    let values: Vec<f32> = (0..6).map(|i| (step * 10 + i) as f32).collect();
    let losses: Vec<f64> = (0..step).map(|i| 1.0 / (i + 3) as f64).collect();
    let count = losses.len();
    [
        ("weights/a".into(), TensorData::new(values, [2, 3])),
        ("losses".into(), TensorData::new(losses, [count])),
        ("time/a".into(), TensorData::new(vec![step as i64], [1])),
    ]
    .into()
}

fn checkpoints(dir: &Path) -> StepCheckpoints {
    let origin = Origin {
        plan_sha256: "plan".into(),
        stage: "chain/50-sft".into(),
        parent_sha256: "parent".into(),
    };
    let plan = CheckpointPlan {
        every_steps: 5,
        keep: 2,
    };
    StepCheckpoints::of(&dir.join("50-sft"), origin, plan)
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir.join("50-sft.steps")).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn the_newest_is_read_back_and_old_ones_go() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = checkpoints(dir.path());
    assert!(checkpoints.newest(|_| true).unwrap().checkpoint.is_none());
    for step in [5, 9, 10, 10] {
        checkpoints.save(&progress(step), &tensors(step)).unwrap();
    }
    assert_eq!(names(dir.path()), ["step-000009", "step-000010"]);
    let found = checkpoints.newest(|_| true).unwrap();
    let newest = found.checkpoint.unwrap();
    assert!(found.broken.is_empty());
    assert_eq!(newest.progress, progress(10));
    assert_eq!(newest.tensors, tensors(10));
    assert!(checkpoints.is_due(10) && !checkpoints.is_due(9));
    let earlier = checkpoints.newest(|progress| progress.step < 10).unwrap();
    assert_eq!(earlier.checkpoint.unwrap().progress, progress(9));
    checkpoints.forget_after(9).unwrap();
    assert_eq!(names(dir.path()), ["step-000009"]);
    remove_steps(&dir.path().join("50-sft")).unwrap();
    assert!(checkpoints.newest(|_| true).unwrap().checkpoint.is_none());
}

#[test]
fn one_that_was_being_written_again_when_the_process_was_killed_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = checkpoints(dir.path());
    for step in [5, 10] {
        checkpoints.save(&progress(step), &tensors(step)).unwrap();
    }
    let folder = dir.path().join("50-sft.steps");
    let old = folder.join(".step-000010.old");
    fs::rename(folder.join("step-000010"), &old).unwrap();
    let newest = checkpoints.newest(|_| true).unwrap().checkpoint.unwrap();
    assert_eq!(newest.progress, progress(10));
    assert_eq!(names(dir.path()), ["step-000005", "step-000010"]);
    // An older state of a step that was put aside does not come back when that step is forgotten.
    fs::create_dir(&old).unwrap();
    checkpoints.forget_after(5).unwrap();
    let newest = checkpoints.newest(|_| true).unwrap().checkpoint.unwrap();
    assert_eq!(newest.progress, progress(5));
}

/// After every operation on files that can fail: the checkpoint before is there, and the error names the file.
#[test]
fn a_disk_that_fails_during_a_save_leaves_the_checkpoint_before() {
    use model::files::faults::{Fault, with, with_free};
    for fault in [Fault::NoSpace, Fault::Io, Fault::Short] {
        for at in 1.. {
            let dir = tempfile::tempdir().unwrap();
            let checkpoints = checkpoints(dir.path());
            checkpoints.save(&progress(5), &tensors(5)).unwrap();
            let (saved, has_struck) = with(fault, at, "", || {
                checkpoints.save(&progress(10), &tensors(10))
            });
            let found = checkpoints.newest(|_| true).unwrap();
            let newest = found.checkpoint.unwrap();
            assert!(found.broken.is_empty(), "{fault:?} at {at}");
            let is_new = newest.progress.step == 10;
            let step = if is_new { 10 } else { 5 };
            assert_eq!(newest.progress, progress(step));
            assert_eq!(newest.tensors, tensors(step));
            match saved {
                Ok(()) => assert!(is_new),
                Err(error) => {
                    let text = error.to_string();
                    assert!(fault != Fault::Short && text.contains("step-"), "{text}");
                }
            }
            if !has_struck {
                assert!(at > 8, "{at} operations");
                break;
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = checkpoints(dir.path());
    let error = with_free(1000, || checkpoints.save(&progress(5), &tensors(5)));
    let text = error.unwrap_err().to_string();
    assert!(
        text.contains("step-000005`: ") && text.contains(" bytes needed, 1000 free"),
        "{text}"
    );
    assert!(!dir.path().join("50-sft.steps").exists());
}

/// What the error names, and what is done to the folder.
type Damage = (&'static str, fn(&Path));

/// Every way in which the newest may be damaged: each byte that matters is covered by a checksum.
#[test]
fn a_damaged_one_is_named_and_the_one_before_is_used() {
    let damage: [Damage; 6] = [
        ("no tensor", |path| flip(&path.join(STATE), "weights/a")),
        ("weights/a", |path| {
            let file = path.join(STATE);
            let mut bytes = fs::read(&file).unwrap();
            let value = 103f32.to_le_bytes();
            let at = bytes.windows(4).position(|found| found == value).unwrap();
            bytes[at] ^= 1;
            fs::write(&file, bytes).unwrap();
        }),
        ("state.safetensors", |path| {
            let file = fs::File::options()
                .write(true)
                .open(path.join(STATE))
                .unwrap();
            file.set_len(file.metadata().unwrap().len() - 3).unwrap();
        }),
        ("state.safetensors", |path| {
            fs::remove_file(path.join(STATE)).unwrap()
        }),
        ("manifest.json", |path| {
            fs::write(path.join(MANIFEST), "{\"contents\":").unwrap();
        }),
        ("manifest.json", |path| {
            flip(&path.join(MANIFEST), "\"tokens\": 70")
        }),
    ];
    for (named, damage) in damage {
        let dir = tempfile::tempdir().unwrap();
        let checkpoints = checkpoints(dir.path());
        for step in [5, 10] {
            checkpoints.save(&progress(step), &tensors(step)).unwrap();
        }
        damage(&dir.path().join("50-sft.steps/step-000010"));
        let found = checkpoints.newest(|_| true).unwrap();
        assert_eq!(found.checkpoint.unwrap().progress, progress(5));
        let error = found.broken[0].to_string();
        assert!(
            error.contains("step-000010") && error.contains(named),
            "{named}: {error}"
        );
    }
}

#[test]
fn no_flip_of_any_single_bit_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = checkpoints(dir.path());
    for step in [5, 10] {
        checkpoints.save(&progress(step), &tensors(step)).unwrap();
    }
    let mut tries = 0;
    for name in [STATE, MANIFEST] {
        let file = dir.path().join("50-sft.steps/step-000010").join(name);
        let whole = fs::read(&file).unwrap();
        for bit in 0..8 * whole.len() {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&file, flipped).unwrap();
            // What names the plan or the parent is under the same checksum: damaged, not of another run.
            let found = checkpoints.newest(|_| true).unwrap();
            let newest = found.checkpoint.unwrap();
            assert_eq!(newest.progress, progress(5), "{name}, bit {bit}");
            assert!(found.broken[0].to_string().contains("step-000010"));
            tries += 1;
        }
        fs::write(&file, whole).unwrap();
    }
    assert!(tries > 8_000, "{tries}");
    let newest = checkpoints.newest(|_| true).unwrap().checkpoint.unwrap();
    assert_eq!(newest.tensors, tensors(10));
}

/// Changes the last byte of the first place where `text` stands.
fn flip(file: &Path, text: &str) {
    let mut bytes = fs::read(file).unwrap();
    let at = bytes
        .windows(text.len())
        .position(|found| found == text.as_bytes());
    bytes[at.unwrap() + text.len() - 1] ^= 1;
    fs::write(file, bytes).unwrap();
}

#[test]
fn another_parent_or_plan_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = checkpoints(dir.path());
    checkpoints.save(&progress(5), &tensors(5)).unwrap();
    let changes: [fn(&mut Origin) -> &mut String; 2] = [
        |origin| &mut origin.parent_sha256,
        |origin| &mut origin.plan_sha256,
    ];
    for change in changes {
        let mut other = checkpoints.clone();
        change(&mut other.origin).push('2');
        let error = other.newest(|_| true).unwrap_err();
        assert!(
            matches!(error, DistillError::CheckpointOrigin { .. }),
            "{error}"
        );
        assert!(error.hint().is_some());
    }
}
