//! Every recipe that ships parses; every recipe that should not parse says why.
use std::path::{Path, PathBuf};

use distill::recipe::{Plan, Recipe};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn recipes(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(root().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no recipe in {folder}");
    files
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

fn plan(path: &Path) -> Result<Plan, distill::DistillError> {
    let text = std::fs::read_to_string(path).unwrap();
    Recipe::parse(&text, &name(path), &[]).and_then(|recipe| Plan::resolve(&recipe, &name(path)))
}

#[test]
fn shipped_recipes_resolve() {
    for path in recipes("experiments")
        .into_iter()
        .chain(recipes("tests/recipes/valid"))
    {
        if name(&path).contains("pretrain") {
            continue;
        }
        if let Err(error) = plan(&path) {
            panic!("{}: {error}", path.display());
        }
    }
}

#[test]
fn shipped_sweeps_are_called_after_their_file() {
    for path in recipes("experiments")
        .iter()
        .filter(|path| name(path).ends_with("-sweep.toml"))
    {
        assert_eq!(
            plan(path).unwrap().name,
            path.file_stem().unwrap().to_string_lossy()
        );
    }
}

#[test]
fn wrong_recipes_name_file_field_and_cure() {
    for path in recipes("tests/recipes/invalid") {
        let error = plan(&path).expect_err(&name(&path));
        assert_eq!(error.exit_code(), 2);
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        insta::assert_snapshot!(format!("invalid_{stem}"), error.to_string());
    }
}

#[test]
fn plans_survive_the_round_trip() {
    for path in recipes("tests/recipes/valid") {
        let plan = plan(&path).unwrap();
        let json = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
    }
}

#[test]
fn ratios_start_from_the_init_model_where_nothing_is_progressive() {
    let ranked = plan(&root().join("tests/recipes/valid/ranked.toml")).unwrap();
    let [arm] = &ranked.arms[..] else {
        panic!("one arm")
    };
    assert!(!arm.is_chained);
    assert_eq!(
        (arm.student.attn_layers.len(), arm.student.d_state),
        (4, Some(32))
    );
    let minimal = plan(&root().join("tests/recipes/valid/minimal.toml")).unwrap();
    assert!(minimal.arms[0].is_chained && minimal.arms[0].student.attn_layers.is_empty());
}

#[test]
fn layers_that_are_measured_take_the_settings_of_alignment_and_no_stage() {
    let measured = plan(&root().join("tests/recipes/valid/kl_guided.toml")).unwrap();
    assert!(measured.activation_checkpointing);
    let arm = &measured.arms[0];
    let choice = arm.layer_choice.as_ref().unwrap();
    assert_eq!((choice.alignment.steps, choice.sequences), (40, 8));
    assert_eq!(choice.alignment.batch_size, 4);
    assert_eq!(arm.rungs[0].stages.len(), 2);
    let ranked = plan(&root().join("tests/recipes/valid/ranked.toml")).unwrap();
    assert_eq!(ranked.arms[0].layer_choice, None);
}

#[test]
fn a_cache_keeps_64_tokens_where_nothing_is_said() {
    let cached = plan(&root().join("tests/recipes/valid/cached_teacher.toml")).unwrap();
    assert_eq!(cached.teacher_cache.map(|cache| cache.k), Some(64));
}

#[test]
fn ratios_and_controls_become_arms() {
    let plan = plan(&root().join("tests/recipes/valid/full.toml")).unwrap();
    let arms: Vec<_> = plan
        .arms
        .iter()
        .map(|arm| (arm.name.as_str(), arm.is_chained, arm.rungs.len()))
        .collect();
    // The sub-step at 75 % comes first in the chain.
    assert_eq!(
        arms,
        [("chain", true, 3), ("control-random-mixer", false, 1)]
    );
    assert_eq!(plan.arms[0].rungs[0].attention_ratio, 0.75);
    // Alignment comes before the others at every ratio of every arm.
    assert_eq!(plan.stages().count(), 2 + 4 + 4 + 2);
}
