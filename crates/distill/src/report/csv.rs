//! Steps and results as comma-separated values (RFC 4180), one line a row.
use super::RunFacts;
use crate::curves::Metric;
use crate::sweep::{self, SweepRow};

/// Quotes a field that needs it.
fn field(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.into(),
    }
}

fn line(fields: impl IntoIterator<Item = String>) -> String {
    let fields: Vec<String> = fields.into_iter().map(|text| field(&text)).collect();
    fields.join(",") + "\n"
}

/// Every step of every run: run, arm, ratio, stage, step, time and metrics; empty where a stage does not have them.
pub fn steps_csv(runs: &[&RunFacts]) -> String {
    let head = ["run", "arm", "attention_ratio", "stage", "step", "time_ms"];
    let names = head.into_iter().chain(Metric::ALL.map(Metric::name));
    let mut csv = line(names.map(String::from));
    for run in runs {
        for stage in &run.history.stages {
            for (step, values) in &stage.steps {
                let place = [
                    run.folder.clone(),
                    stage.arm.clone(),
                    stage.attention_ratio.to_string(),
                    stage.kind.name().into(),
                    step.to_string(),
                    values.time_ms.to_string(),
                ];
                let number = |metric| {
                    let value: Option<f64> = values.get(metric);
                    value.map_or_else(String::new, |value| value.to_string())
                };
                csv += &line(place.into_iter().chain(Metric::ALL.map(number)));
            }
        }
    }
    csv
}

/// The result tables of every run as one, as they are shown.
pub fn results_csv(runs: &[&RunFacts]) -> String {
    let names = runs
        .iter()
        .flat_map(|run| run.rows.iter().map(|_| run.folder.clone()));
    let rows: Vec<SweepRow> = runs.iter().flat_map(|run| run.rows.clone()).collect();
    let table = sweep::table(&rows);
    let titles = table.titles().into_iter().map(|(title, _)| title.into());
    let mut csv = line(["run".to_string()].into_iter().chain(titles));
    for (name, row) in names.zip(table.shown()) {
        let cells = row.into_iter().map(String::from);
        csv += &line([name].into_iter().chain(cells));
    }
    csv
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        let fields = ["a", "b,c", "say \"x\"", ""].map(String::from);
        assert_eq!(line(fields), "a,\"b,c\",\"say \"\"x\"\"\",\n");
    }
}
