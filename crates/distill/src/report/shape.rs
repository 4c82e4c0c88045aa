//! The shape checks of method, section 7, on what a sweep measures.
use crate::ablation::Verdict;
use crate::dashboard::percent;
use crate::sweep::{RowKind, SweepRow};

/// One thing that the paper found, and whether this run shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct ShapeResult {
    /// The claim.
    pub claim: String,
    /// The numbers it was checked on, or how to get them.
    pub found: String,
    /// How it ended.
    pub verdict: Verdict,
}

/// Checks (1) to (8) in order; those that a sweep cannot measure are open and say what can.
pub fn shape_checks(rows: &[SweepRow]) -> Vec<ShapeResult> {
    let chain: Vec<(f64, f64)> = rows
        .iter()
        .filter(|row| row.kind == RowKind::Chain)
        .filter_map(|row| Some((row.attention_ratio, before_dpo(row)?)))
        .collect();
    let at = |ratio: f64| chain.iter().find(|(of, _)| *of == ratio).map(|(_, x)| *x);
    let control = |ratio: f64, init: &str| {
        rows.iter()
            .find(|row| {
                row.kind == RowKind::Control
                    && row.attention_ratio == ratio
                    && row.init.as_deref() == Some(init)
            })
            .and_then(|row| row.distillation)
    };
    let monotone = ShapeResult {
        claim: "(1) less attention, worse perplexity".into(),
        found: match chain.len() {
            0 | 1 => "fewer than two ratios are measured".into(),
            _ => {
                let each = chain
                    .iter()
                    .map(|(ratio, x)| format!("{} %: {x:.3}", percent(*ratio)));
                each.collect::<Vec<_>>().join(", ")
            }
        },
        verdict: verdict((chain.len() > 1).then(|| {
            let pairs = chain.windows(2);
            pairs.into_iter().all(|pair| pair[0].1 <= pair[1].1)
        })),
    };
    let mut results = vec![
        monotone,
        threshold(
            "(2) at 25 % at most 1.1 times the teacher's perplexity",
            at(0.25),
            |x| x <= 1.1,
        ),
        threshold(
            "(2) at 0 % at least 1.3 times the teacher's perplexity",
            at(0.0),
            |x| x >= 1.3,
        ),
    ];
    let both = |ratio: f64| {
        Some((
            ratio,
            control(ratio, "attention")?,
            control(ratio, "random-mixer")?,
        ))
    };
    let mut ratios: Vec<f64> = rows.iter().map(|row| row.attention_ratio).collect();
    ratios.sort_by(f64::total_cmp);
    ratios.dedup();
    let compared: Vec<_> = ratios.into_iter().rev().filter_map(both).collect();
    results.push(ShapeResult {
        claim: "(3) mixers that start from attention beat random ones".into(),
        found: match compared.is_empty() {
            true => "no ratio has both controls: `ablate init`".into(),
            false => {
                let each = compared.iter().map(|(ratio, attention, random)| {
                    format!("{} %: {attention:.3} against {random:.3}", percent(*ratio))
                });
                each.collect::<Vec<_>>().join(", ")
            }
        },
        verdict: verdict(
            (!compared.is_empty()).then(|| compared.iter().all(|(_, a, random)| a < random)),
        ),
    });
    results.push(open(
        "(4) without Mamba blocks it collapses",
        "`ablate no-mamba`",
    ));
    results.push(open(
        "(5) SFT with DPO beats either alone",
        "`ablate stages`",
    ));
    let chained = rows
        .iter()
        .find(|row| row.kind == RowKind::Chain && row.attention_ratio == 0.0)
        .and_then(|row| row.distillation);
    let steps = chained.zip(control(0.0, "attention"));
    results.push(ShapeResult {
        claim: "(6) ratio by ratio beats going straight there".into(),
        found: match steps {
            Some((chained, direct)) => {
                format!("0 %: {chained:.3} against {direct:.3}, with more steps")
            }
            None => "no control goes straight to 0 %: `ablate progressive`".into(),
        },
        verdict: verdict(steps.map(|(chained, direct)| chained < direct)),
    });
    results.push(open(
        "(7) frozen MLPs help in short runs",
        "`ablate freeze`",
    ));
    results.push(open(
        "(8) longer drafts are accepted further, speed saturates",
        "`reproduce table-1`, `reproduce table-5`",
    ));
    results
}

/// Perplexity over the teacher's after the last stage that the chain goes on from.
fn before_dpo(row: &SweepRow) -> Option<f64> {
    row.sft.or(row.distillation).or(row.alignment)
}

fn verdict(holds: Option<bool>) -> Verdict {
    match holds {
        Some(true) => Verdict::Pass,
        Some(false) => Verdict::Fail,
        None => Verdict::Open,
    }
}

fn threshold(claim: &str, found: Option<f64>, holds: impl Fn(f64) -> bool) -> ShapeResult {
    ShapeResult {
        claim: claim.into(),
        found: found.map_or("not measured".into(), |x| format!("{x:.3}")),
        verdict: verdict(found.map(holds)),
    }
}

fn open(claim: &str, cure: &str) -> ShapeResult {
    ShapeResult {
        claim: claim.into(),
        found: format!("not measured by a sweep: {cure}"),
        verdict: Verdict::Open,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(kind: RowKind, ratio: f64, init: &str, distillation: f64, sft: Option<f64>) -> SweepRow {
        SweepRow {
            kind,
            arm: "x".into(),
            init: Some(init.into()),
            attention_ratio: ratio,
            attn_layers: 1,
            n_layers: 8,
            alignment: None,
            distillation: Some(distillation),
            sft,
            dpo: None,
            tasks: Vec::new(),
            tokens_per_s: None,
            state_bytes: 1,
        }
    }

    #[test]
    fn verdicts_follow_the_numbers() {
        use Verdict::{Fail, Open, Pass};
        let verdicts = |rows: &[SweepRow]| -> Vec<Verdict> {
            shape_checks(rows).iter().map(|one| one.verdict).collect()
        };
        assert_eq!(verdicts(&[]), [Open; 9]);
        // The paper's numbers of table 6, and of table 7 for the controls.
        let paper = [
            row(RowKind::Chain, 0.5, "attention", 1.03, None),
            row(RowKind::Chain, 0.25, "attention", 1.2, Some(1.09)),
            row(RowKind::Chain, 0.0, "attention", 1.66, None),
            row(RowKind::Control, 0.0, "attention", 1.7, None),
            row(RowKind::Control, 0.0, "random-mixer", 9.0, None),
        ];
        assert_eq!(
            verdicts(&paper),
            [Pass, Pass, Pass, Pass, Open, Open, Pass, Open, Open]
        );
        let mut other = paper;
        other[1].sft = Some(1.7);
        other[4].distillation = Some(1.5);
        other[3].distillation = Some(1.6);
        assert_eq!(
            verdicts(&other),
            [Fail, Fail, Pass, Fail, Open, Open, Fail, Open, Open]
        );
    }
}
