//! The words in which a judge is asked.
use std::collections::BTreeMap;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::fields::{FieldProblem, Fields};
use model::hex;

/// How a judge is told what to do and shown what to judge, under the names that MT-Bench gives its prompts, and `alpaca-eval`.
///
/// Those built in are ours; a file in the schema of MT-Bench's `judge_prompts.jsonl` takes their place name by name.
#[derive(Debug, Clone, PartialEq)]
pub struct JudgePrompts(BTreeMap<String, Prompt>);

#[derive(Debug, Clone, PartialEq)]
struct Prompt {
    system: String,
    template: String,
}

/// What a prompt may name in braces.
const NAMES: [&str; 16] = [
    "question",
    "question_1",
    "question_2",
    "answer",
    "answer_1",
    "answer_2",
    "answer_a",
    "answer_b",
    "answer_a_1",
    "answer_a_2",
    "answer_b_1",
    "answer_b_2",
    "ref_answer_1",
    "ref_answer_2",
    "output_1",
    "output_2",
];

const RATE: &str = "You grade answers of assistants. Weigh whether the answer is right, to the point, useful and complete, in this order; \
length is no merit. Say in two or three sentences what is good and what is not, then end with a line `Rating: [[N]]`, where N is a \
number from 1 (useless) to 10 (nothing to improve).";
const RATE_BY_REFERENCE: &str = "You grade answers of assistants to questions that have a right answer. A reference answer is given: compare \
the answer with it first, and name every mistake. A wrong result is worth little however well it is written. Then end with a line \
`Rating: [[N]]`, where N is a number from 1 (useless) to 10 (nothing to improve).";
const RATE_SECOND: &str = " Two turns of a dialogue are shown; grade the assistant's second answer alone, in the light of the first.";
const COMPARE: &str = "You compare the answers of two assistants, A and B, to the same user. Weigh whether each is right, to the point, useful \
and complete; neither the order in which they stand nor their length counts. Say in two or three sentences how they differ, then end with \
`[[A]]` if A is better, `[[B]]` if B is better, or `[[C]]` if neither is.";
const COMPARE_BY_REFERENCE: &str = "You compare the answers of two assistants, A and B, to the same question, which has a right answer. A \
reference answer is given: compare each answer with it first, and name every mistake; neither the order in which they stand nor their length \
counts. Then end with `[[A]]` if A is better, `[[B]]` if B is better, or `[[C]]` if neither is.";
const COMPARE_SECOND: &str =
    " Two turns of each dialogue are shown; compare the second answers, in the light of the first.";
const CHOOSE: &str = "You compare the outputs of two models, `m` and `M`, for the same instruction, and say which one people would prefer. \
Reply with the name of the better model alone: `m` or `M`, one letter and nothing else.";

const ONE: &str = "## Question\n{question}\n\n## Answer\n{answer}\n\n## End";
const ONE_BY_REFERENCE: &str = "## Question\n{question}\n\n## Reference answer\n{ref_answer_1}\n\n## Answer\n{answer}\n\n## End";
const TWO: &str = "## User, turn 1\n{question_1}\n\n## Assistant, turn 1\n{answer_1}\n\n## User, turn 2\n{question_2}\n\n\
## Assistant, turn 2\n{answer_2}\n\n## End";
const TWO_BY_REFERENCE: &str = "## Reference answer, turn 1\n{ref_answer_1}\n\n## Reference answer, turn 2\n{ref_answer_2}\n\n\
## User, turn 1\n{question_1}\n\n## Assistant, turn 1\n{answer_1}\n\n## User, turn 2\n{question_2}\n\n\
## Assistant, turn 2\n{answer_2}\n\n## End";
const PAIR: &str =
    "## Question\n{question}\n\n## Answer of A\n{answer_a}\n\n## Answer of B\n{answer_b}\n\n## End";
const PAIR_BY_REFERENCE: &str = "## Question\n{question}\n\n## Reference answer\n{ref_answer_1}\n\n## Answer of A\n{answer_a}\n\n\
## Answer of B\n{answer_b}\n\n## End";
const PAIR_TWO: &str = "## User, turn 1\n{question_1}\n\n## User, turn 2\n{question_2}\n\n## Assistant A, turn 1\n{answer_a_1}\n\n\
## Assistant A, turn 2\n{answer_a_2}\n\n## Assistant B, turn 1\n{answer_b_1}\n\n## Assistant B, turn 2\n{answer_b_2}\n\n## End";
const PAIR_TWO_BY_REFERENCE: &str = "## User, turn 1\n{question_1}\n\n## Reference answer, turn 1\n{ref_answer_1}\n\n\
## User, turn 2\n{question_2}\n\n## Reference answer, turn 2\n{ref_answer_2}\n\n## Assistant A, turn 1\n{answer_a_1}\n\n\
## Assistant A, turn 2\n{answer_a_2}\n\n## Assistant B, turn 1\n{answer_b_1}\n\n## Assistant B, turn 2\n{answer_b_2}\n\n## End";
const OUTPUTS: &str = "## Instruction\n{question}\n\n## Output of model `m`\n{output_1}\n\n## Output of model `M`\n{output_2}\n\n## End\n\n\
Which model is better, `m` or `M`?";

impl Default for JudgePrompts {
    fn default() -> Self {
        let prompts = [
            ("single-v1", [RATE, "", ONE]),
            ("single-math-v1", [RATE_BY_REFERENCE, "", ONE_BY_REFERENCE]),
            ("single-v1-multi-turn", [RATE, RATE_SECOND, TWO]),
            (
                "single-math-v1-multi-turn",
                [RATE_BY_REFERENCE, RATE_SECOND, TWO_BY_REFERENCE],
            ),
            ("pair-v2", [COMPARE, "", PAIR]),
            (
                "pair-math-v1",
                [COMPARE_BY_REFERENCE, "", PAIR_BY_REFERENCE],
            ),
            ("pair-v2-multi-turn", [COMPARE, COMPARE_SECOND, PAIR_TWO]),
            (
                "pair-math-v1-multi-turn",
                [COMPARE_BY_REFERENCE, COMPARE_SECOND, PAIR_TWO_BY_REFERENCE],
            ),
            ("alpaca-eval", [CHOOSE, "", OUTPUTS]),
        ];
        let prompt = |(name, [system, more, template]): (&str, [&str; 3])| {
            let system = format!("{system}{more}");
            (
                name.to_owned(),
                Prompt {
                    system,
                    template: template.into(),
                },
            )
        };
        Self(prompts.into_iter().map(prompt).collect())
    }
}

impl JudgePrompts {
    /// Takes a row of a file of prompts in place of the one with its name; rows with other names are left out.
    ///
    /// # Errors
    /// A field that is missing, or a name in braces that nothing is known for.
    pub fn replace(&mut self, row: &Value) -> Result<(), FieldProblem> {
        let fields = Fields(row);
        let template = fields.answer("prompt_template")?;
        if let Some(prompt) = self.0.get_mut(fields.text("name")?) {
            if let Some(name) = named(template).find(|name| !NAMES.contains(name)) {
                let expected = format!("one of `{{{}}}`", NAMES.join("}`, `{"));
                return Err(FieldProblem::new(
                    "prompt_template",
                    format!("with `{{{name}}}`"),
                    expected,
                ));
            }
            *prompt = Prompt {
                system: fields.text("system_prompt")?.into(),
                template: template.into(),
            };
        }
        Ok(())
    }

    /// System and user turn of prompt `name` with `values` in place of what it names.
    pub(super) fn fill(&self, name: &str, values: &[(&str, &str)]) -> (String, String) {
        let prompt = &self.0[name];
        let mut user = String::new();
        let mut rest = prompt.template.as_str();
        // One pass: what an answer has in braces stays as it is.
        while let Some((before, after)) = rest.split_once('{') {
            user.push_str(before);
            let found = after.split_once('}').and_then(|(name, after)| {
                let (_, value) = values.iter().find(|(known, _)| *known == name)?;
                Some((*value, after))
            });
            let (value, after) = found.unwrap_or(("{", after));
            user.push_str(value);
            rest = after;
        }
        user.push_str(rest);
        (prompt.system.clone(), user)
    }

    /// Hash of all prompts, hexadecimal.
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        for (name, prompt) in &self.0 {
            for text in [name, &prompt.system, &prompt.template] {
                hash.update(text);
                hash.update([0]);
            }
        }
        hex(&hash.finalize())
    }
}

/// What a template names: words of small letters, digits and `_` in braces.
fn named(template: &str) -> impl Iterator<Item = &str> {
    let is_word = |word: &&str| {
        let is_part =
            |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_';
        !word.is_empty() && word.chars().all(is_part)
    };
    let parts = template.split('{').skip(1);
    parts
        .filter_map(|part| Some(part.split_once('}')?.0))
        .filter(is_word)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn our_prompts_name_only_what_is_known() {
        for (name, prompt) in &JudgePrompts::default().0 {
            let names: Vec<&str> = named(&prompt.template).collect();
            assert!(names.len() >= 2, "{name}");
            assert!(
                names.iter().all(|name| NAMES.contains(name)),
                "{name}: {names:?}"
            );
        }
    }

    #[test]
    fn braces_of_an_answer_stay() {
        let prompts = JudgePrompts::default();
        let values = [
            ("question", "{answer}"),
            ("answer", "fn f() { {question} }"),
        ];
        let (_, user) = prompts.fill("single-v1", &values);
        assert_eq!(
            user,
            "## Question\n{answer}\n\n## Answer\nfn f() { {question} }\n\n## End"
        );
    }

    #[test]
    fn a_published_file_takes_the_place_of_ours() {
        let mut prompts = JudgePrompts::default();
        let before = prompts.sha256();
        let mut row = json!({"name": "pair-v2", "system_prompt": "Judge.", "prompt_template": "{question}: {answer_a} {answer_b}"});
        prompts.replace(&row).unwrap();
        let values = [("question", "q"), ("answer_a", "a"), ("answer_b", "b")];
        assert_eq!(
            prompts.fill("pair-v2", &values),
            ("Judge.".into(), "q: a b".into())
        );
        assert_ne!(prompts.sha256(), before);
        row["prompt_template"] = json!("{query}");
        let error = prompts.replace(&row).unwrap_err().to_string();
        assert!(
            error.starts_with("`prompt_template` is with `{query}`, expected one of"),
            "{error}"
        );
        row["name"] = json!("another");
        prompts.replace(&row).unwrap();
    }
}
