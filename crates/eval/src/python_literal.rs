//! Lists, dictionaries, texts and numbers as Python writes them: some hub files hold them as text.
use serde_json::{Map, Value};

/// The value that a Python literal stands for.
///
/// # Errors
/// What stands where, if it is none.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    let mut parser = Parser { text, at: 0 };
    let value = parser.value()?;
    match parser.peek() {
        None => Ok(value),
        Some(other) => Err(parser.unexpected(other)),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    /// The next character that is not white space, which is passed over.
    fn peek(&mut self) -> Option<char> {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
        self.rest().chars().next()
    }

    fn unexpected(&self, found: char) -> String {
        format!("no Python literal: `{found}` at byte {}", self.at)
    }

    fn ended(&self) -> String {
        format!("no Python literal: it ends at byte {}", self.at)
    }

    fn takes(&mut self, wanted: char) -> bool {
        let is_next = self.peek() == Some(wanted);
        self.at += if is_next { wanted.len_utf8() } else { 0 };
        is_next
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        if self.takes(wanted) {
            return Ok(());
        }
        Err(self
            .peek()
            .map_or(self.ended(), |found| self.unexpected(found)))
    }

    fn value(&mut self) -> Result<Value, String> {
        match self.peek().ok_or_else(|| self.ended())? {
            '[' => self.list(']'),
            '(' => self.list(')'),
            '{' => self.dictionary(),
            '\'' | '"' => Ok(Value::String(self.string()?)),
            _ => self.word(),
        }
    }

    fn list(&mut self, close: char) -> Result<Value, String> {
        self.at += 1;
        let mut values = Vec::new();
        while !self.takes(close) {
            values.push(self.value()?);
            if !self.takes(',') {
                self.expect(close)?;
                break;
            }
        }
        Ok(Value::Array(values))
    }

    fn dictionary(&mut self) -> Result<Value, String> {
        self.at += 1;
        let mut values = Map::new();
        while !self.takes('}') {
            self.peek();
            let key = self.string()?;
            self.expect(':')?;
            values.insert(key, self.value()?);
            if !self.takes(',') {
                self.expect('}')?;
                break;
            }
        }
        Ok(Value::Object(values))
    }

    fn string(&mut self) -> Result<String, String> {
        let mut letters = self.rest().char_indices();
        let quote = match letters.next() {
            Some((_, quote @ ('\'' | '"'))) => quote,
            Some((_, other)) => return Err(self.unexpected(other)),
            None => return Err(self.ended()),
        };
        let mut text = String::new();
        while let Some((index, letter)) = letters.next() {
            match letter {
                _ if letter == quote => {
                    self.at += index + 1;
                    return Ok(text);
                }
                '\\' => match letters.next().map(|(_, letter)| letter) {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some('\n') => {}
                    Some(letter @ ('x' | 'u' | 'U')) => {
                        let digits = match letter {
                            'x' => 2,
                            'u' => 4,
                            _ => 8,
                        };
                        let code: String = letters.by_ref().take(digits).map(|(_, c)| c).collect();
                        let code = u32::from_str_radix(&code, 16).ok().and_then(char::from_u32);
                        text.push(
                            code.ok_or_else(|| format!("no Python literal: a wrong \\{letter}"))?,
                        );
                    }
                    Some(other @ ('\\' | '\'' | '"')) => text.push(other),
                    Some(other) => text.extend(['\\', other]),
                    None => break,
                },
                other => text.push(other),
            }
        }
        Err(self.ended())
    }

    fn word(&mut self) -> Result<Value, String> {
        let rest = self.rest();
        let is_end = |letter: char| letter.is_whitespace() || ",]})".contains(letter);
        let word = &rest[..rest.find(is_end).unwrap_or(rest.len())];
        let value = match word {
            "None" => Value::Null,
            "True" => Value::Bool(true),
            "False" => Value::Bool(false),
            other => serde_json::from_str(other)
                .ok()
                .filter(Value::is_number)
                .ok_or_else(|| format!("no Python literal: `{other}` at byte {}", self.at))?,
        };
        self.at += word.len();
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn literals_are_read_as_python_writes_them() {
        let text =
            r#" [{'a': "it's", "b": 'say "x"\n\\ é\x41\u00e9'}, (1, -2.5, True, None,), [], {}] "#;
        let expected =
            json!([{"a": "it's", "b": "say \"x\"\n\\ éAé"}, [1, -2.5, true, null], [], {}]);
        assert_eq!(parse(text).unwrap(), expected);
    }

    #[test]
    fn what_is_no_literal_is_named() {
        for (text, expected) in [
            ("[1, 2", "no Python literal: it ends at byte 5"),
            ("['a' 'b']", "no Python literal: `'` at byte 5"),
            ("'open", "no Python literal: it ends at byte 0"),
            ("{1: 2}", "no Python literal: `1` at byte 1"),
            ("open('x')", "no Python literal: `open('x'` at byte 0"),
            ("[] []", "no Python literal: `[` at byte 3"),
        ] {
            assert_eq!(parse(text).unwrap_err(), expected);
        }
    }
}
