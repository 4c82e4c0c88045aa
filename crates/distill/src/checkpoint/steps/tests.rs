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
            let file = File::options().write(true).open(path.join(STATE)).unwrap();
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
