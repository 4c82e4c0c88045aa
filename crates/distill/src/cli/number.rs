//! Numbers within bounds.

pub(super) fn positive(text: &str) -> Result<usize, String> {
    at_least(text, 1)
}

pub(super) fn window(text: &str) -> Result<usize, String> {
    at_least(text, 2)
}

pub(super) fn pairs(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (2..=32).contains(&number) => Ok(number),
        _ => Err("expected whole numbers from 2 to 32".into()),
    }
}

fn at_least(text: &str, least: usize) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number >= least => Ok(number),
        _ => Err(format!("expected a whole number from {least} on")),
    }
}

pub(super) fn temperature(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(number) if (0.0..=100.0).contains(&number) => Ok(number),
        _ => Err("expected a number from 0 to 100".into()),
    }
}

pub(super) fn probability(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(number) if number > 0.0 && number <= 1.0 => Ok(number),
        _ => Err("expected a number above 0, up to 1".into()),
    }
}
