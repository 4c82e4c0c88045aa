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

/// A size such as 500MB, 2GB or plain bytes; units are powers of 1000.
pub(super) fn bytes(text: &str) -> Result<usize, String> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = match unit {
        "" | "B" => 1,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => 0,
    };
    let size = number
        .parse()
        .ok()
        .and_then(|size: usize| size.checked_mul(unit));
    size.filter(|size| *size > 0)
        .ok_or_else(|| "expected a size above 0 such as 500MB or 2GB".into())
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_take_units_of_a_thousand() {
        for (text, size) in [
            ("12", 12),
            ("3KB", 3_000),
            ("500MB", 500_000_000),
            ("2GB", 2_000_000_000),
        ] {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for text in ["", "0", "GB", "-1", "1.5GB", "1TiB", "99999999999999999999"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
