//! A heat map of a number by layer and step, as SVG.
use std::fmt::Write as _;

/// Shades from least to most.
const SHADES: usize = 8;
/// Columns at most: a column is the mean of as many looks as that takes.
const COLUMNS: usize = 48;
/// Size of a cell, pixels.
const CELL: (usize, usize) = (10, 14);
/// Room for the number of a layer.
const LABELS: usize = 26;

/// Rows are layers, columns are looks at them in order; what is zero or was no number is left blank. Shades are even steps of the logarithm between the least and the most.
/// `None` when there is nothing above zero.
pub(super) fn heat_map(looks: &[(usize, &[f64])]) -> Option<String> {
    let n_layers = looks.iter().map(|(_, layers)| layers.len()).max()?;
    let columns: Vec<(usize, Vec<f64>)> = looks
        .chunks(looks.len().div_ceil(COLUMNS))
        .map(|looks| {
            let mean = |layer_idx: usize| {
                let values = looks.iter().filter_map(|(_, layers)| layers.get(layer_idx));
                let logs: Vec<f64> = values
                    .filter(|x| **x > 0.0 && **x < f64::MAX)
                    .map(|x| x.ln())
                    .collect();
                match logs.len() {
                    0 => f64::NEG_INFINITY,
                    count => logs.iter().sum::<f64>() / count as f64,
                }
            };
            let last = looks.last().map_or(0, |(step, _)| *step);
            (last, (0..n_layers).map(mean).collect())
        })
        .collect();
    let finite = || {
        let all = columns.iter().flat_map(|(_, layers)| layers);
        all.copied().filter(|value| value.is_finite())
    };
    let (least, most) = (finite().reduce(f64::min)?, finite().reduce(f64::max)?);
    // A path a shade: a rectangle for every cell would be ten times as long.
    let mut paths = vec![String::new(); SHADES];
    for (column, (_, layers)) in columns.iter().enumerate() {
        for (layer_idx, value) in layers.iter().enumerate().filter(|(_, x)| x.is_finite()) {
            let share = (value - least) / (most - least).max(1e-9);
            let shade = ((share * SHADES as f64) as usize).min(SHADES - 1);
            let (x, y) = (LABELS + column * CELL.0, layer_idx * CELL.1);
            let _ = write!(paths[shade], "M{x} {y}h{}v{}h-{0}z", CELL.0, CELL.1);
        }
    }
    let (width, height) = (LABELS + columns.len() * CELL.0, n_layers * CELL.1);
    let mut svg = format!(
        "<svg class=\"heat\" viewBox=\"0 0 {width} {}\" width=\"{width}\" xmlns=\"http://www.w3.org/2000/svg\">",
        height + 16
    );
    for layer_idx in 0..n_layers {
        let y = layer_idx * CELL.1 + 11;
        let x = LABELS - 5;
        let _ = write!(
            svg,
            "<text x=\"{x}\" y=\"{y}\" text-anchor=\"end\">{layer_idx}</text>"
        );
    }
    for (shade, path) in paths
        .iter()
        .enumerate()
        .filter(|(_, path)| !path.is_empty())
    {
        let _ = write!(svg, "<path class=\"h{shade}\" d=\"{path}\"/>");
    }
    let (first, last) = (looks[0].0, looks[looks.len() - 1].0);
    let y = height + 12;
    let _ = write!(
        svg,
        "<text x=\"{LABELS}\" y=\"{y}\">step {first}</text>\
         <text x=\"{width}\" y=\"{y}\" text-anchor=\"end\">{last}; {:.2e} to {:.2e}</text></svg>",
        least.exp(),
        most.exp()
    );
    Some(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_is_in_the_path_of_its_shade() {
        let looks: Vec<(usize, &[f64])> = vec![(1, &[1.0, 100.0]), (2, &[10.0, 0.0])];
        let svg = heat_map(&looks).unwrap();
        let path = |shade: usize| {
            let (_, rest) = svg.split_once(&format!("<path class=\"h{shade}\" d=\""))?;
            rest.split_once('"')
                .map(|(path, _)| path.matches('M').count())
        };
        assert_eq!(
            [path(0), path(4), path(7), path(3)],
            [Some(1), Some(1), Some(1), None]
        );
        assert!(svg.contains("step 1<") && svg.contains(">2; 1.00e0 to 1.00e2<"));
        assert_eq!(heat_map(&[(1, &[0.0, f64::MAX])]), None);
        assert_eq!(heat_map(&[]), None);
    }
}
