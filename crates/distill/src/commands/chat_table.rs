//! `reproduce table-2`: the paper's chat scores and those that `eval chat` has given a run, side by side (method 7).
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use eval::judge::Protocol;
use eval::report::{Cell, Table};

use crate::cli::ReproduceArgs;
use crate::commands::Outcome;
use crate::error::DistillError;
use crate::evaluation::chat::{ChatReport, Mode};

/// The table that is read off `RUN/eval/chat`.
pub(crate) const CHAT_TABLE: &str = "table-2";

/// A model of the paper: MT-Bench, its two turns; AlpacaEval's win rate at equal length and as it is, in percent.
type PaperRow = (
    &'static str,
    Option<f64>,
    Option<[f64; 2]>,
    Option<f64>,
    Option<f64>,
);

const PAPER: [PaperRow; 20] = [
    (
        "Zephyr (teacher)",
        Some(7.34),
        None,
        Some(13.20),
        Some(10.99),
    ),
    (
        "Mamba-Zephyr 50 %",
        Some(7.31),
        None,
        Some(20.66),
        Some(16.69),
    ),
    (
        "Mamba-Zephyr 25 %",
        Some(7.03),
        None,
        Some(17.16),
        Some(13.11),
    ),
    (
        "Mamba-Zephyr 12.5 %",
        Some(6.40),
        None,
        Some(15.32),
        Some(12.96),
    ),
    (
        "Llama-3-8B-Instruct (teacher)",
        Some(8.00),
        None,
        Some(22.90),
        Some(22.60),
    ),
    (
        "Mamba-Llama3 50 %",
        Some(7.35),
        Some([7.82, 6.88]),
        Some(29.61),
        Some(26.69),
    ),
    (
        "Mamba-Llama3 25 %",
        Some(6.86),
        Some([7.56, 6.15]),
        Some(25.85),
        Some(22.50),
    ),
    (
        "Mamba-Llama3 12.5 %",
        Some(6.46),
        Some([6.91, 6.01]),
        Some(20.76),
        Some(17.93),
    ),
    (
        "Mamba2-Llama3 50 %",
        Some(7.32),
        Some([7.93, 6.70]),
        Some(26.78),
        Some(22.69),
    ),
    (
        "Mamba2-Llama3 25 %",
        Some(6.74),
        Some([7.24, 6.24]),
        Some(22.75),
        Some(19.01),
    ),
    (
        "Mamba2-Llama3 12.5 %",
        Some(6.48),
        Some([6.83, 6.13]),
        Some(20.25),
        Some(16.88),
    ),
    (
        "Mamba2-Llama3 0 %",
        Some(5.64),
        Some([6.16, 5.11]),
        Some(14.49),
        Some(10.88),
    ),
    (
        "Llama-3.1-8B-Instruct (teacher)",
        Some(8.0),
        None,
        Some(20.9),
        Some(21.8),
    ),
    (
        "Mamba-Llama3.1-8B 50 %, no DPO",
        Some(7.7),
        Some([8.0, 7.3]),
        Some(18.97),
        Some(21.22),
    ),
    (
        "Mamba2-Llama3.1-8B 50 %, no DPO",
        Some(7.6),
        Some([8.1, 7.0]),
        Some(18.99),
        Some(21.55),
    ),
    (
        "Mamba-Llama3.2-3B 50 %, no DPO",
        Some(6.9),
        None,
        Some(13.57),
        Some(15.54),
    ),
    (
        "Mamba2-Llama3.2-3B 50 %, no DPO",
        Some(6.5),
        None,
        Some(12.61),
        Some(14.34),
    ),
    (
        "Falcon-Mamba-7B-instruct",
        Some(6.40),
        None,
        Some(4.04),
        Some(2.15),
    ),
    ("GPT-3.5-turbo", Some(7.94), None, Some(22.70), Some(14.10)),
    ("GPT-4o", None, None, Some(57.46), Some(51.33)),
];

const NOTE: &str = "MT: MT-Bench, 1 to 10, and its turns; LC and win: AlpacaEval 2 at equal length and as it is, percent. Scores of two \
judges cannot be compared, those of a proxy or of sample questions with nobody's: compare orderings and ratios to the teacher. \
The paper takes for Zephyr the better of two DPO settings, metric by metric. \"not listed\": the paper's table as we have it gives no such number.";

/// What `eval chat --run` found of one model.
struct Ours {
    /// Name of its folder.
    name: String,
    /// Of MT-Bench, then of AlpacaEval.
    reports: [Option<ChatReport>; 2],
}

/// Prints the paper's rows and those of a judged run as Markdown on stdout.
///
/// # Errors
/// No `--evaluated`, a run that `eval chat` has not seen, a closed stdout.
pub(super) fn run(args: &ReproduceArgs) -> anyhow::Result<Outcome> {
    let missing = || DistillError::NotEvaluated {
        table: args.name.clone(),
        after: "distill eval chat BENCHMARK --run RUN",
    };
    let run = args.evaluated.as_deref().ok_or_else(missing)?;
    let ours = read(run)?;
    anyhow::ensure!(!ours.is_empty(), missing());
    let mut out = io::stdout().lock();
    writeln!(out, "{}", render(&ours))?;
    Ok(Outcome::Done)
}

/// Every model that was judged: the teacher, then those with the most attention first.
fn read(run: &Path) -> anyhow::Result<Vec<Ours>> {
    let mut all: Vec<Ours> = Vec::new();
    let kinds = [
        (Protocol::MtBench, Mode::Rating),
        (Protocol::AlpacaEval, Mode::Pairwise),
    ];
    for (place, (protocol, mode)) in kinds.into_iter().enumerate() {
        for folder in folders(&run.join("eval/chat").join(protocol.name()))? {
            let path = folder.join(format!("{}.json", mode.name()));
            if !path.is_file() {
                continue;
            }
            let context = || format!("`{}`", path.display());
            let report: ChatReport =
                serde_json::from_slice(&std::fs::read(&path).with_context(context)?)
                    .with_context(context)?;
            let name = report.model.clone();
            let index = all
                .iter()
                .position(|one| one.name == name)
                .unwrap_or_else(|| {
                    all.push(Ours {
                        name,
                        reports: [None, None],
                    });
                    all.len() - 1
                });
            all[index].reports[place] = Some(report);
        }
    }
    let attention = |one: &Ours| {
        let first = one.name.split(' ').next().unwrap_or_default();
        first
            .parse::<f64>()
            .map_or(f64::INFINITY, |percent| percent)
    };
    all.sort_by(|a, b| {
        attention(b)
            .total_cmp(&attention(a))
            .then_with(|| a.name.cmp(&b.name))
    });
    Ok(all)
}

fn folders(parent: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !parent.is_dir() {
        return Ok(Vec::new());
    }
    let entries =
        std::fs::read_dir(parent).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let entries = entries.with_context(|| format!("could not read `{}`", parent.display()))?;
    Ok(entries
        .into_iter()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect())
}

fn render(ours: &[Ours]) -> String {
    let mut table = Table::new()
        .text_column("source", "source")
        .text_column("model", "model")
        .number_column("mt", "MT")
        .number_column("turn_1", "turn 1")
        .number_column("turn_2", "turn 2")
        .number_column("lc", "LC")
        .number_column("win", "win")
        .text_column("judge", "judge");
    let listed = |value: Option<f64>| {
        value.map_or_else(|| Cell::text("not listed"), |value| Cell::number(value, 2))
    };
    for (name, mt, turns, lc, win) in PAPER {
        let mut cells = vec![Cell::text("paper"), Cell::text(name), listed(mt)];
        cells.extend([0, 1].map(|turn| listed(turns.map(|turns| turns[turn]))));
        cells.extend([listed(lc), listed(win), Cell::text("not listed")]);
        table.push(cells);
    }
    for one in ours {
        let [rated, compared] = &one.reports;
        let both = [rated, compared].into_iter().flatten();
        let source = match both.clone().any(|report| report.is_builtin) {
            true => "ours, on sample questions",
            false => "ours",
        };
        let mut judges: Vec<String> = both.map(|report| report.judge.shown()).collect();
        judges.dedup();
        let measured =
            |value: Option<f64>| value.map_or_else(Cell::missing, |value| Cell::number(value, 2));
        let scored = |report: &Option<ChatReport>| {
            let overall = report.as_ref()?.score.overall;
            (overall.count > 0).then_some(overall.mean)
        };
        let turn = |place: usize| {
            let score = rated.as_ref()?.score.turns.get(place)?.score;
            (score.count > 0).then_some(score.mean)
        };
        let percent = |share: Option<f64>| share.map(|share| 100.0 * share);
        let equal = compared
            .as_ref()
            .and_then(|report| Some(report.length_controlled?.win));
        table.push([
            Cell::text(source),
            Cell::text(one.name.as_str()),
            measured(scored(rated)),
            measured(turn(0)),
            measured(turn(1)),
            measured(percent(equal)),
            measured(percent(scored(compared))),
            Cell::text(judges.join(", ")),
        ]);
    }
    format!("{}\n{NOTE}", table.to_markdown())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_turns_have_the_papers_mean() {
        for (name, mt, turns, ..) in PAPER {
            if let (Some(mt), Some([first, second])) = (mt, turns) {
                // Two digits; one in the rows of Llama 3.1.
                assert!((mt - (first + second) / 2.0).abs() < 0.051, "{name}");
            }
        }
        // Less attention, less of it: the shape to reproduce.
        let of = |family: &str| -> Vec<f64> {
            let rows = PAPER
                .iter()
                .filter(|(name, ..)| name.starts_with(family) && !name.contains("no DPO"));
            rows.filter_map(|(_, mt, ..)| *mt).collect()
        };
        for family in ["Mamba-Zephyr", "Mamba-Llama3 ", "Mamba2-Llama3 "] {
            let scores = of(family);
            assert!(
                scores.len() >= 3 && scores.is_sorted_by(|a, b| a > b),
                "{family}: {scores:?}"
            );
        }
    }
}
