//! A benchmark of one's own, scored by log-likelihood: `custom_task MODEL`.
#![allow(clippy::print_stdout)]

use std::error::Error;

use burn::backend::Flex;
use eval::BatchLimits;
use eval::zero_shot::{Gold, Item, Metric, Task, ZeroShotOptions, score};
use serde_json::json;

const SUMS: Task = Task {
    name: "sums",
    version: "1",
    split: "test",
    examples: "",
    columns: &["question", "answers"],
    metrics: &[Metric::Acc],
    item: |row| {
        let answers = row.texts("answers", 2)?;
        Ok(Item::of(row.text("question")?, answers, Gold::One(0)))
    },
};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: custom_task MODEL")?;
    let loaded = model::load::<Flex>(path, &Default::default())?;
    let tokenizer = loaded.tokenizer.ok_or("the model has no tokenizer")?;
    let items = (1..9).map(|n| {
        let answers = [2 * n, 2 * n + 1].map(|sum: i32| sum.to_string());
        SUMS.item(&json!({ "question": format!("{n} + {n} ="), "answers": answers }))
    });
    let items = items.collect::<Result<Vec<_>, _>>()?;
    let options = ZeroShotOptions::zero_shot(512, BatchLimits::HOST);
    let asked = [&items[..], &[]];
    let found = score(&SUMS, asked, &loaded.model, &tokenizer, options, |_| ())?;
    println!("{}: {:.0} %", found.task, 100.0 * found.metrics[0].value);
    Ok(())
}
