use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::parquet::basic::{Compression, ZstdLevel};
use ::parquet::column::writer::ColumnWriter;
use ::parquet::data_type::ByteArray;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;

use crate::data::{Chat, Preference, records, text};

/// A leaf column as Parquet stores it: values with definition and repetition levels.
#[derive(Default)]
struct Column {
    values: Vec<ByteArray>,
    definitions: Vec<i16>,
    repetitions: Vec<i16>,
}

impl Column {
    /// A nullable text a row.
    fn texts(rows: &[Option<&str>]) -> Self {
        let mut column = Self::default();
        for text in rows {
            column.values.extend(text.map(ByteArray::from));
            column.definitions.push(i16::from(text.is_some()));
            column.repetitions.push(0);
        }
        column
    }

    /// One field of a nullable list of structs a row, as the hub's writers nest them: list, element and field are nullable.
    fn listed(rows: &[Option<Vec<&str>>]) -> Self {
        let mut column = Self::default();
        for row in rows {
            let mut level = |definition, repetition| {
                column.definitions.push(definition);
                column.repetitions.push(repetition);
            };
            match row {
                None => level(0, 0),
                Some(texts) if texts.is_empty() => level(1, 0),
                Some(texts) => {
                    for (at, text) in texts.iter().enumerate() {
                        level(4, i16::from(at > 0));
                        column.values.push(ByteArray::from(*text));
                    }
                }
            }
        }
        column
    }
}

/// A nullable list of `{first, second}`.
fn list(name: &str, first: &str, second: &str) -> String {
    format!(
        "optional group {name} (LIST) {{ repeated group list {{ optional group element {{ \
         optional binary {first} (STRING); optional binary {second} (STRING); }} }} }}"
    )
}

/// Writes a file with one row group for each item of `groups`.
fn write(path: &Path, schema: &str, groups: Vec<Vec<Column>>, compression: Compression) {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .build();
    let file = File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).unwrap();
    for columns in groups {
        let mut group = writer.next_row_group().unwrap();
        let mut columns = columns.into_iter();
        while let Some(mut writer) = group.next_column().unwrap() {
            let column = columns.next().expect("a column of the schema");
            let (definitions, repetitions) = (&column.definitions, &column.repetitions);
            match writer.untyped() {
                ColumnWriter::ByteArrayColumnWriter(writer) => writer
                    .write_batch(&column.values, Some(definitions), Some(repetitions))
                    .unwrap(),
                _ => panic!("only text columns are written here"),
            };
            writer.close().unwrap();
        }
        group.close().unwrap();
    }
    writer.close().unwrap();
}

/// Every kind of conversation as columns of one file, in two row groups.
fn chats(path: &Path, compression: Compression) {
    let schema = format!(
        "message schema {{ {} {} optional binary prompt (STRING); optional binary reply (STRING); \
         optional binary instruction (STRING); optional binary input (STRING); optional binary output (STRING); \
         optional binary source (STRING); }}",
        list("messages", "content", "role"),
        list("conversations", "from", "value"),
    );
    let nothing = || Column::texts(&[None, None]);
    let no_list = || Column::listed(&[None, None]);
    let first = vec![
        Column::listed(&[
            Some(vec!["Be brief.", "Hi", "Hello.", "Bye", "See you."]),
            None,
        ]),
        Column::listed(&[
            Some(vec!["system", "user", "assistant", "user", "assistant"]),
            None,
        ]),
        Column::listed(&[None, Some(vec!["human", "gpt", "human"])]),
        Column::listed(&[None, Some(vec!["One?", "Two.", "left open"])]),
        nothing(),
        nothing(),
        nothing(),
        nothing(),
        nothing(),
        Column::texts(&[Some("a"), Some("b")]),
    ];
    let second = vec![
        no_list(),
        no_list(),
        no_list(),
        no_list(),
        Column::texts(&[Some("Three?"), None]),
        Column::texts(&[Some("Four."), None]),
        Column::texts(&[None, Some("Add")]),
        Column::texts(&[None, Some("1 2")]),
        Column::texts(&[None, Some("3")]),
        nothing(),
    ];
    write(path, &schema, vec![first, second], compression);
}

const SAME_CHATS: &str = r#"{"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Bye"}, {"role": "assistant", "content": "See you."}]}
{"conversations": [{"from": "human", "value": "One?"}, {"from": "gpt", "value": "Two."}, {"from": "human", "value": "left open"}]}
{"prompt": "Three?", "reply": "Four."}
{"instruction": "Add", "input": "1 2", "output": "3"}
"#;

fn place(dir: &tempfile::TempDir, name: &str) -> PathBuf {
    dir.path().join(name)
}

#[test]
fn conversations_are_those_of_the_same_json_lines_whatever_the_compression() {
    let dir = tempfile::tempdir().unwrap();
    let lines = place(&dir, "chats.jsonl");
    std::fs::write(&lines, SAME_CHATS).unwrap();
    let expected = Chat::read(&lines).unwrap();
    assert_eq!(expected.len(), 4);
    for (name, compression) in [
        ("plain.parquet", Compression::UNCOMPRESSED),
        ("snappy.parquet", Compression::SNAPPY),
        ("gzip.parquet", Compression::GZIP(Default::default())),
        ("zstd.PARQUET", Compression::ZSTD(ZstdLevel::default())),
    ] {
        let path = place(&dir, name);
        chats(&path, compression);
        assert_eq!(Chat::read(&path).unwrap(), expected, "{name}");
    }
}

#[test]
fn pairs_with_lists_of_turns_and_text_are_those_of_json_lines() {
    let dir = tempfile::tempdir().unwrap();
    let path = place(&dir, "pairs.parquet");
    // As ultrafeedback_binarized has them: whole conversations beside a prompt of text.
    let schema = format!(
        "message schema {{ optional binary prompt (STRING); {} {} }}",
        list("chosen", "content", "role"),
        list("rejected", "content", "role"),
    );
    let roles = || Column::listed(&[Some(vec!["user", "assistant"])]);
    let columns = vec![
        Column::texts(&[Some("Best?")]),
        Column::listed(&[Some(vec!["Best?", "Good."])]),
        roles(),
        Column::listed(&[Some(vec!["Best?", "Bad."])]),
        roles(),
    ];
    write(&path, &schema, vec![columns], Compression::SNAPPY);
    let lines = place(&dir, "pairs.jsonl");
    std::fs::write(
        &lines,
        r#"{"prompt": "Best?", "chosen": "Good.", "rejected": "Bad."}"#,
    )
    .unwrap();
    let pairs = Preference::read(&path).unwrap();
    assert_eq!(pairs.len(), 1);
    assert_eq!(pairs, Preference::read(&lines).unwrap());
}

#[test]
fn text_columns_that_are_not_called_text_by_the_writer_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = place(&dir, "text.parquet");
    let schema = "message schema { optional binary text; }";
    let bad = ByteArray::from(vec![0xff, 0xfe]);
    let mut column = Column::texts(&[Some("one two"), None, Some("three")]);
    column.values.push(bad);
    column.definitions.push(1);
    column.repetitions.push(0);
    write(&path, schema, vec![vec![column]], Compression::UNCOMPRESSED);
    let documents: Vec<_> = text::documents(&path)
        .unwrap()
        .map(|document| {
            let (row, text) = document.unwrap();
            (row, text.map_err(|error| format!("{error:#}")))
        })
        .collect();
    assert_eq!(documents[0], (1, Ok("one two".into())));
    assert_eq!(documents[1], (2, Err("expected `text`".into())));
    assert_eq!(documents[2], (3, Ok("three".into())));
    let (row, error) = &documents[3];
    let error = error.as_ref().unwrap_err();
    assert!(
        *row == 4 && error.starts_with("column `text`: not UTF-8"),
        "{error}"
    );
}

#[test]
fn rows_of_another_shape_are_named_by_number_and_unknown_columns_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = place(&dir, "bad.parquet");
    let schema =
        "message schema { optional binary prompt (STRING); optional binary reply (STRING); }";
    let columns = vec![
        Column::texts(&[Some("a"), Some("b")]),
        Column::texts(&[Some("c"), None]),
    ];
    write(&path, schema, vec![columns], Compression::UNCOMPRESSED);
    let error = format!("{:#}", Chat::read(&path).unwrap_err());
    assert!(
        error.contains("bad.parquet`: row 2: expected `messages`"),
        "{error}"
    );
    let error = format!("{:#}", text::documents(&path).err().unwrap());
    assert!(
        error.ends_with("bad.parquet`: the columns `prompt`, `reply`, expected one of `text`"),
        "{error}"
    );
}

#[test]
fn a_cut_or_changed_file_is_one_error_and_never_other_rows() {
    let dir = tempfile::tempdir().unwrap();
    let path = place(&dir, "chats.parquet");
    chats(&path, Compression::SNAPPY);
    let whole = std::fs::read(&path).unwrap();
    let expected = Chat::read(&path).unwrap();
    for length in (0..whole.len()).step_by(7) {
        std::fs::write(&path, &whole[..length]).unwrap();
        let error = format!("{:#}", Chat::read(&path).unwrap_err());
        assert!(error.contains("chats.parquet`: "), "{length}: {error}");
    }
    let read = |path: &Path| -> anyhow::Result<usize> {
        let mut rows = records::rows(path, Chat::COLUMNS)?;
        rows.try_fold(0, |count, row| row.map(|_| count + 1))
    };
    let mut refused = 0;
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x41;
        std::fs::write(&path, &bytes).unwrap();
        match read(&path) {
            Err(_) => refused += 1,
            Ok(rows) => assert!(rows <= expected.len(), "byte {at}"),
        }
    }
    assert!(refused * 2 > whole.len(), "{refused} of {}", whole.len());
}
