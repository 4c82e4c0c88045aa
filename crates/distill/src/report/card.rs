//! A model card in Markdown, with the head that model hubs read.
use std::fmt::Write as _;

use super::RunFacts;
use super::page::summary;
use crate::ablation::Verdict;
use crate::curves::student;
use crate::sweep::{self, LEGEND, RowKind, teacher_name};

use super::shape_checks;

/// The card of a run's students.
pub fn model_card(facts: &RunFacts) -> String {
    let plan = &facts.manifest.plan;
    let teacher = teacher_name(&plan.teacher);
    let mixer = crate::recipe::mixer_name(plan.arms[0].student.mixer);
    let mut card = format!(
        "---\nbase_model: \"{teacher}\"\npipeline_tag: text-generation\ntags:\n- {mixer}\n- hybrid\n- distillation\n---\n\n\
         # {}\n\n\
         Hybrids of `{teacher}` in which most attention layers have become {mixer} layers that started from the attention's \
         own weights, distilled back to it (*The Mamba in the Llama*, arXiv 2408.15237).\n\n## Result\n\n",
        plan.name
    );
    match facts.rows.is_empty() {
        true => card += "Nothing is measured yet.\n",
        false => {
            let _ = write!(card, "{}\n{LEGEND}\n", sweep::markdown_table(&facts.rows));
        }
    }
    if let Some(gate) = &facts.gate {
        card += "\n## The recipe's bar\n\n";
        for line in gate.lines() {
            let _ = writeln!(card, "- {line}");
        }
    }
    card += "\n## What the paper found, and this run\n\n";
    for check in shape_checks(&facts.rows) {
        let word = match check.verdict {
            Verdict::Pass => "PASS",
            Verdict::Fail => "FAIL",
            Verdict::Open => continue,
        };
        let _ = writeln!(card, "- {word}: {}: {}", check.claim, check.found);
    }
    let best = facts.rows.iter().find(|row| row.kind == RowKind::Chain);
    if let Some(done) = best.and_then(|row| {
        let of_row = facts.state.finished.iter().rev();
        of_row
            .filter(|done| done.arm == row.arm)
            .find(|done| done.attention_ratio == row.attention_ratio)
    }) {
        let _ = write!(
            card,
            "\n## Use\n\n```sh\ndistill generate --model RUN/{} --prompt \"Why is the sky blue?\"\n```\n",
            done.checkpoint
        );
    }
    card += "\n## Training\n\n| stage | steps | batch | peak learning rate |\n| --- | ---: | ---: | ---: |\n";
    for stage in plan.stages() {
        let _ = writeln!(
            card,
            "| {} | {} | {} x {} | {:.1e} |",
            stage.path(),
            stage.steps,
            stage.batch_size,
            stage.grad_accumulation.max(1),
            stage.lr_peak
        );
    }
    let seq_len = plan.data.seq_len;
    let _ = writeln!(
        card,
        "\nSequences of at most {seq_len} tokens; seed {}.\n",
        plan.seed
    );
    for (name, value) in summary(facts) {
        let _ = writeln!(card, "- {name}: {value}");
    }
    let said = facts
        .history
        .stages
        .iter()
        .rev()
        .find(|s| !s.samples.is_empty());
    if let Some(stage) = said {
        let _ = writeln!(
            card,
            "\n## Samples of {}, {}",
            student(stage),
            stage.kind.name()
        );
        for sample in &stage.samples {
            for (who, text) in [
                ("prompt", &sample.prompt),
                ("teacher", &sample.teacher),
                ("student", &sample.student),
            ] {
                let quoted = text.replace('\n', "\n> ");
                let _ = write!(card, "\n{who}:\n\n> {quoted}\n");
            }
        }
    }
    card += "\n## Limits\n\n\
        Perplexity is on replies of the teacher held out from the training data; tasks are synthetic. Nothing here was measured \
        for safety: a student is no safer than its teacher.\n";
    card
}
