//! The same greedy reply with and without drafts by a quarter of the model's own layers: `speculative MODEL TEXT`.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::ops::ControlFlow;

use burn::backend::Flex;
use model::decode::speculative::{DraftLen, ModelDrafter, Speculation, generate_speculative};
use model::{Sampling, spread_layers};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, text] = &arguments[..] else {
        return Err("usage: speculative MODEL TEXT".into());
    };
    let loaded = model::load::<Flex>(path, &Default::default())?;
    let tokenizer = loaded.tokenizer.ok_or("the model has no tokenizer")?;
    let (model, prompt) = (loaded.model, tokenizer.encode(text));
    let sampling = Sampling::greedy(64);
    let plain = model.generate(&prompt, &sampling)?;

    let layers = spread_layers(model.n_layers(), model.n_layers().div_ceil(4));
    let mut drafter = ModelDrafter::new(model.shrink(&layers)?);
    let mut speculation = Speculation::new(DraftLen::fixed(3));
    let (replies, report) = generate_speculative(
        &model,
        &mut drafter,
        &[prompt],
        &sampling,
        &mut speculation,
        &mut |_, _| ControlFlow::Continue(()),
    )?;
    assert_eq!(replies[0].tokens, plain.tokens, "drafts change no token");
    println!("{}", tokenizer.decode(&replies[0].tokens));
    println!("{:.2} tokens a round", report.tokens_per_round());
    Ok(())
}
