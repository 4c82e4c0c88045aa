//! Recipes, rows of data, and the log of a run.
use std::path::Path;

use distill::data::text::documents;
use distill::data::{Chat, Preference};
use distill::recipe::{Plan, Recipe};
use distill::run::LogReader;

use crate::format::{Bound, Format, workplace};

/// A tree of JSON or TOML takes some dozens of bytes for each value, which may be two in the file.
const TREE: Bound = Bound {
    times: 64,
    bytes: 1 << 20,
};

const JSON_WORDS: [&str; 16] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\n",
    "null",
    "1e400",
    "-0",
    "\"role\"",
    "\"assistant\"",
    "\"\\ud800\"",
    "[[[[[[[[[[[[",
    "\u{feff}",
];

#[test]
fn recipes() {
    let format = Format {
        name: "recipe",
        file: "recipe.toml",
        words: &[
            "[",
            "]",
            "[[",
            "=",
            "\"",
            "'''",
            "#",
            "nan",
            "-inf",
            "1e308",
            "-1",
            "0",
            "9223372036854775807",
            "{a=",
            "\n",
            "true",
            "[sweep]",
            "attention_ratios",
            "\"../\"",
            "\u{0}",
            "1979-05-27T07:32:00Z",
        ],
        bound: Bound { times: 128, ..TREE },
    };
    format.check(&workplace("recipe"), |path| {
        let recipe = Recipe::load(path, &[]);
        recipe.is_ok_and(|recipe| Plan::resolve(&recipe, "recipe").is_ok())
    });
}

/// Checks a file of rows in JSON lines.
fn check_rows(name: &str, read: impl Fn(&Path) -> bool) {
    let format = Format {
        name,
        file: "rows.jsonl",
        words: &JSON_WORDS,
        bound: TREE,
    };
    format.check(&workplace(name), read);
}

#[test]
fn conversations() {
    check_rows("chat", |path| Chat::read(path).is_ok());
}

#[test]
fn preferences() {
    check_rows("preferences", |path| Preference::read(path).is_ok());
}

#[test]
fn text() {
    check_rows("text", |path| {
        documents(path)
            .is_ok_and(|rows| rows.flatten().filter(|(_, text)| text.is_ok()).count() > 0)
    });
}

#[test]
fn event_logs() {
    let words = [
        &JSON_WORDS[..],
        &[
            "\"event\"",
            "\"step\"",
            "\"time_ms\"",
            "-1",
            "18446744073709551616",
        ],
    ]
    .concat();
    let format = Format {
        name: "events",
        file: "events.jsonl",
        words: &words,
        bound: TREE,
    };
    format.check(&workplace("events"), |path| read_log(path) > 0);
}

fn read_log(path: &Path) -> usize {
    let mut reader = LogReader::open_file(path.into()).unwrap();
    let events = reader.poll().unwrap();
    let mut app = distill::dashboard::App::default();
    let count = events.len();
    events.into_iter().for_each(|event| app.apply(&event));
    count
}

#[test]
fn parquet() {
    let format = Format {
        name: "parquet",
        file: "rows.parquet",
        words: &[
            "PAR1",
            "prompt",
            "reply",
            "\u{0}\u{0}\u{0}\u{0}",
            "\u{15}\u{2}\u{19}",
            "\u{18}",
        ],
        bound: TREE,
    };
    format.check(&workplace("parquet"), |path| Chat::read(path).is_ok());
}

/// Writes the Parquet file of the corpus.
#[test]
#[ignore = "writes the corpus anew"]
fn make_parquet() {
    use std::sync::Arc;

    use parquet::data_type::ByteArrayType;
    use parquet::file::writer::SerializedFileWriter;
    let schema = "message rows { required binary prompt (UTF8); required binary reply (UTF8); }";
    let schema = Arc::new(parquet::schema::parser::parse_message_type(schema).unwrap());
    let folder = crate::format::fixtures().join("parquet");
    std::fs::create_dir_all(&folder).unwrap();
    let file = std::fs::File::create(folder.join("plain.parquet")).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Default::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for text in ["question", "answer"] {
        let values: Vec<_> = (0..4)
            .map(|row| format!("{text} {row}").as_str().into())
            .collect();
        let mut column = group.next_column().unwrap().unwrap();
        column
            .typed::<ByteArrayType>()
            .write_batch(&values, None, None)
            .unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}
