//! A judge, and what it said before.
use std::collections::HashMap;

use eval::judge::{Ask, Said};
use serde_json::{Value, json};

use super::KeptLines;

/// Told the place of a request and what the judge said to it.
pub type Heard<'a> = &'a mut dyn FnMut(usize, Said) -> anyhow::Result<()>;

/// Whoever reads answers and says what they are worth.
pub trait Judge {
    /// Name in tables and in what is kept.
    fn name(&self) -> &str;

    /// Whether it stands in for a judge that would be trusted: a local model.
    fn is_proxy(&self) -> bool;

    /// Answers every request, in any order, and tells `heard` each as soon as it is there.
    ///
    /// # Errors
    /// A judge that cannot be reached or refuses; as `heard`.
    fn hear(&self, asks: &[&Ask], heard: Heard) -> anyhow::Result<()>;
}

/// What the judge said to each of `asks`, from the lines that it left before or else from itself; what is new is kept.
///
/// `of` names question, model and baseline of a request in its line.
///
/// # Errors
/// As [`Judge::hear`]; when the disk refuses.
pub fn hear_all(
    judge: &dyn Judge,
    asks: &[Ask],
    (kept, lines): (&mut KeptLines, &[Value]),
    of: impl Fn(&Ask) -> Value,
    mut progress: impl FnMut(usize),
) -> anyhow::Result<Vec<Said>> {
    let mut known: HashMap<String, Said> = lines
        .iter()
        .filter(|line| line["judge"] == judge.name())
        .filter_map(|line| {
            let said = serde_json::from_value(line["said"].clone()).ok()?;
            Some((line["prompt_sha256"].as_str()?.to_owned(), said))
        })
        .collect();
    let hashes: Vec<String> = asks.iter().map(Ask::sha256).collect();
    let mut open: Vec<usize> = Vec::new();
    for (index, hash) in hashes.iter().enumerate() {
        // Equal answers make equal requests, of which one is enough.
        if !known.contains_key(hash) && !open.iter().any(|other| hashes[*other] == *hash) {
            open.push(index);
        }
    }
    let wanted: Vec<&Ask> = open.iter().map(|index| &asks[*index]).collect();
    let mut done = asks.len() - open.len();
    progress(done);
    judge.hear(&wanted, &mut |place, said| {
        let (ask, hash) = (wanted[place], &hashes[open[place]]);
        let mut line = of(ask);
        line["turn"] = json!(ask.turn);
        line["order"] = json!(ask.order);
        line["judge"] = json!(judge.name());
        line["is_proxy"] = json!(judge.is_proxy());
        line["prompt"] = json!(ask.prompt);
        line["prompt_sha256"] = json!(hash);
        line["said"] = json!(said);
        line["value"] = json!(ask.kind.value(ask.order, &said));
        kept.add(&line)?;
        known.insert(hash.clone(), said);
        done += 1;
        progress(done);
        Ok(())
    })?;
    let said = |hash: &String| {
        known
            .get(hash)
            .cloned()
            .ok_or_else(|| anyhow::anyhow!("the judge left a request open"))
    };
    hashes.iter().map(said).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use eval::judge::{Kind, Order};

    use super::*;

    struct Counting(Cell<usize>, &'static str);

    impl Judge for Counting {
        fn name(&self) -> &str {
            self.1
        }
        fn is_proxy(&self) -> bool {
            true
        }
        fn hear(&self, asks: &[&Ask], heard: Heard) -> anyhow::Result<()> {
            for (place, ask) in asks.iter().enumerate().rev() {
                self.0.set(self.0.get() + 1);
                heard(
                    place,
                    Said {
                        text: format!("[[{}]]", ask.user.len()),
                        ..Said::default()
                    },
                )?;
            }
            Ok(())
        }
    }

    fn ask(user: &str) -> Ask {
        Ask {
            question: 0,
            turn: 1,
            order: Order::AnswerFirst,
            kind: Kind::Rating,
            prompt: "single-v1",
            system: String::new(),
            user: user.into(),
        }
    }

    #[test]
    fn a_judge_is_asked_once_and_another_judge_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("judgments.jsonl");
        let hear = |judge: &Counting, asks: &[Ask]| {
            let (mut kept, lines) = KeptLines::open(&path).unwrap();
            let said = hear_all(judge, asks, (&mut kept, &lines), |_| json!({}), |_| ()).unwrap();
            said.into_iter().map(|said| said.text).collect::<Vec<_>>()
        };
        let judge = Counting(Cell::new(0), "first");
        let asks = [ask("a"), ask("bb"), ask("a")];
        assert_eq!(hear(&judge, &asks), ["[[1]]", "[[2]]", "[[1]]"]);
        assert_eq!(judge.0.get(), 2, "equal requests are one");
        assert_eq!(hear(&judge, &[ask("bb"), ask("ccc")]), ["[[2]]", "[[3]]"]);
        assert_eq!(judge.0.get(), 3);
        let other = Counting(Cell::new(0), "second");
        hear(&other, &asks);
        assert_eq!(other.0.get(), 2);
    }
}
