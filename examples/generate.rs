//! Goes on with a text, token by token: `generate MODEL TEXT`.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::io::{Write, stdout};
use std::ops::ControlFlow;

use burn::backend::Flex;
use model::Sampling;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, text] = &arguments[..] else {
        return Err("usage: generate MODEL TEXT".into());
    };
    let loaded = model::load::<Flex>(path, &Default::default())?;
    let tokenizer = loaded.tokenizer.ok_or("the model has no tokenizer")?;
    let sampling = Sampling::with_temperature(64, 0.7, 42);
    let mut said = Vec::new();
    let mut shown = 0;
    let each = |token| {
        said.push(token);
        let reply = tokenizer.decode(&said);
        // A character may take several tokens.
        if let Some(new) = reply.get(shown..).filter(|new| !new.ends_with('\u{fffd}')) {
            print!("{new}");
            shown = reply.len();
        }
        match stdout().flush() {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    };
    let prompt = tokenizer.encode(text);
    loaded.model.generate_each(&prompt, &sampling, each)?;
    println!();
    Ok(())
}
