use burn::backend::Flex;

use super::*;

const RECIPE: &str = include_str!("../../../../../experiments/tiny-pretrain.toml");

fn recipe() -> PretrainRecipe {
    let set = [
        "model.vocab_size=400",
        "model.n_layers=1",
        "model.d_model=16",
        "model.n_heads=2",
        "model.n_kv_heads=1",
        "model.head_dim=8",
        "model.intermediate_size=24",
        "data.seq_len=128",
        "data.held_out_share=0.2",
        "data.tasks.max_pairs=4",
        "training.steps=6",
        "training.tokens_per_batch=256",
        "training.warmup_steps=1",
        "training.log_every=2",
        "training.eval_tasks=2",
    ]
    .map(str::to_owned);
    PretrainRecipe::parse(RECIPE, &set).expect("the recipe parses")
}

fn run(stop: &StopFlag) -> (Pretrained<Flex>, Vec<Progress>) {
    let records = crate::data::builtin::replies().expect("parses");
    let records = records.into_iter().take(20).collect();
    let mut progress = Vec::new();
    let trained = pretrain(&recipe(), records, &Default::default(), stop, &mut |line| {
        progress.push(line);
    });
    (trained.expect("trains"), progress)
}

fn losses(progress: &[Progress]) -> Vec<f64> {
    progress
        .iter()
        .filter_map(|line| match line {
            Progress::Step { loss, .. } => Some(*loss),
            _ => None,
        })
        .collect()
}

#[test]
fn a_small_model_learns_and_repeats_itself() {
    let (trained, progress) = run(&StopFlag::new());
    let losses = losses(&progress);
    assert_eq!((losses.len(), trained.steps), (3, 6));
    assert!(losses[2] < losses[0], "{losses:?}");
    let scores = trained.measure(&recipe(), &Default::default());
    let scores = scores.expect("measures");
    assert!(scores.held_out_loss.is_finite());
    assert_eq!(scores.exact_match.len(), 3, "each kind at 4 pairs");
    assert_eq!(trained.tokenizer.token_id("<|im_end|>"), Some(2));
    assert_eq!(losses, self::losses(&run(&StopFlag::new()).1));
}

#[test]
fn a_stop_keeps_what_was_trained() {
    let stop = StopFlag::new();
    stop.stop();
    assert_eq!(run(&stop).0.steps, 2);
}
