//! Chat templates: programs of others, and texts that try to be control tokens.
use std::path::Path;

use model::{ChatTemplate, JinjaTemplate, Message, Tokenizer};
use proptest::prelude::*;

use crate::allocator::most_held;
use crate::format::{Bound, Format, workplace};

const SPECIALS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

fn tokenizer() -> Tokenizer {
    Tokenizer::train_bpe(["user assistant <|im_ |im_end|>"], 290, &SPECIALS).unwrap()
}

fn chat(text: &str) -> [Message; 3] {
    [
        Message::user(text),
        Message::assistant("Hello"),
        Message::user("More"),
    ]
}

const PROGRAM_WORDS: [&str; 23] = [
    "{{",
    "}}",
    "{%",
    "%}",
    "{% for x in range(99999) %}",
    "{% endfor %}",
    "{% set y = y ~ y %}",
    "messages",
    "loop.index",
    "| join",
    "| replace('a', messages)",
    "* 99999999",
    "content",
    "\\n",
    "[0]",
    "namespace()",
    "{% if ",
    "{% endif %}",
    "eos_token",
    "{% include 'x' %}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "(((((((((((((((((((((((",
    ".__class__",
];

#[test]
fn programs() {
    let format = Format {
        name: "template",
        file: "template.jinja",
        words: &PROGRAM_WORDS,
        bound: PROGRAM,
    };
    let (folder, tokenizer) = (workplace("template"), tokenizer());
    format.check(&folder, |path| {
        let source = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
        let json = serde_json::json!({ "chat_template": source, "eos_token": "<|im_end|>" });
        let path = folder.join("tokenizer_config.json");
        std::fs::write(&path, json.to_string()).unwrap();
        is_used(&path, &tokenizer)
    });
}

#[test]
fn tokenizer_configs() {
    let format = Format {
        name: "tokenizer-config",
        file: "tokenizer_config.json",
        words: &[
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"",
            "null",
            "\"content\"",
            "\"eos_token\"",
            "\\ud800",
            "[[[[[[[[[[",
        ],
        bound: PROGRAM,
    };
    let tokenizer = tokenizer();
    format.check(&workplace("tokenizer-config"), |path| {
        is_used(path, &tokenizer)
    });
}

/// Whether a conversation can be written with the template of a file.
fn is_used(path: &Path, tokenizer: &Tokenizer) -> bool {
    let Ok(template) = JinjaTemplate::load(path) else {
        return false;
    };
    let template = ChatTemplate::Jinja(template);
    template.encode_chat(tokenizer, &chat("Hi"), true).is_ok()
}

/// What the interpreter may hold for a program that runs until it is stopped.
const PROGRAM: Bound = Bound {
    times: 64,
    bytes: 192 << 20,
};

fn write(folder: &Path, source: &str) -> JinjaTemplate {
    let path = folder.join("tokenizer_config.json");
    let json = serde_json::json!({ "chat_template": source, "eos_token": "<|im_end|>" });
    std::fs::write(&path, json.to_string()).unwrap();
    JinjaTemplate::load(&path).unwrap()
}

#[test]
fn a_program_that_grows_without_end_is_stopped() {
    let _alone = crate::alone();
    let (folder, tokenizer) = (workplace("growing"), tokenizer());
    for source in [
        "{% set n = namespace(x='aaaaaaaa') %}{% for i in range(99999) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
        "{% set n = namespace(x='aaaaaaaa') %}{% for i in range(99999) %}{% set n.x = n.x + n.x %}{% endfor %}",
        "{% set n = namespace(x='aaaaaaaa') %}{% for i in range(99999) %}{% set n.x = n.x * 99999 %}{% endfor %}",
        "{% set n = namespace(x='aaaaaaaa') %}{% for i in range(99999) %}{% set n.x = n.x | replace('a', 'aaaaaaaa') %}{% endfor %}",
        "{% set n = namespace(x='aaaaaaaa') %}{% for i in range(99999) %}{% set n.x = [n.x, n.x] | join(n.x) %}{% endfor %}",
        "{% set n = namespace(x='aaaaaaaa') %}{% for i in range(99999) %}{% set n.x = n.x.replace('a', n.x) %}{% endfor %}",
        "{% set n = namespace(x='a') %}{% for i in range(99999) %}{% set n.x = '%s%s' | format(n.x, n.x) %}{% endfor %}",
        "{% set n = namespace(x='a') %}{% for i in range(99999) %}{% set n.x %}{{ n.x }}{{ n.x }}{% endset %}{% endfor %}",
        "{% set n = namespace(x=[1]) %}{% for i in range(40) %}{% set n.x = n.x + n.x %}{% endfor %}{{ n.x | length }}",
        "{% set n = namespace(x=[1]) %}{% for i in range(40) %}{% set n.x = (n.x if i else n.x) + (n.x or n.x) %}{% endfor %}",
        "{% set n = namespace(x=[1]) %}{% for i in range(40) %}{% set n.x = n.x | chain(n.x) %}{% endfor %}{{ n.x | length }}",
        "{% set n = namespace(x=[1]) %}{% for i in range(40) %}{% set n.x = [n.x, n.x] | sum(start=[]) %}{% endfor %}",
        "{% set n = namespace(x=[1] * 99999999) %}{% for i in range(40) %}{% set n.x = n.x + [1] %}{% endfor %}",
        "{% set n = namespace(x=(1, 2)) %}{% for i in range(40) %}{% set n.x = n.x + n.x %}{% endfor %}{{ n.x | length }}",
        "{% macro m(x, i) %}{% if i %}{{ m(x + x, i - 1) }}{% endif %}{% endmacro %}{{ m([1], 40) }}",
        "{% for x in range(99999) %}<|im_start|>' + message['role'] + message['content'] + '<|im_end|>{% endfor %}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% endfor %}",
        "{% macro m(x) %}{{ m(x ~ x) }}{% endmacro %}{{ m('aaaaaaaa') }}",
        "{% set n = namespace(x=[1]) %}{% for i in range(33) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x }}",
        "{% set n = namespace(x=[1]) %}{% for i in range(33) %}{% set n.x = (n.x, n.x) %}{% endfor %}{{ n.x ~ '' }}",
        "{% set n = namespace(x=[1]) %}{% for i in range(33) %}{% set n.x = {'a': n.x, 'b': n.x} %}{% endfor %}{{ n.x | tojson }}",
        "{% set n = namespace(x=1) %}{% for i in range(33) %}{% set n.x = dict(a=n.x, b=n.x) %}{% endfor %}{{ n.x | string }}",
        "{% set n = namespace(x=[1]) %}{% for i in range(33) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x | join }}",
        "{% set n = namespace(x=[1]) %}{% for i in range(33) %}{% set n.x = [n.x] + [n.x] %}{% endfor %}{{ n.x | upper }}",
        "{% set n = namespace(x=[1]) %}{% for i in range(33) %}{% set n.x = [n.x] * 2 %}{% endfor %}{{ n.x | pprint }}",
        "{% set n = namespace(x=[1]) %}{% for i in range(33) %}{% set n.x = n.x | batch(1, n.x) | list %}{% endfor %}{{ n.x }}",
        "{% set n = namespace(x=[1], y=[1]) %}{% for i in range(33) %}{% set n.x = [n.x, n.x] %}{% set n.y = [n.y, n.y] %}{% endfor %}{{ n.x == n.y }}",
        "{% set n = namespace(x=1) %}{% for i in range(33) %}{% set m = namespace(a=n.x, b=n.x) %}{% set n.x = m %}{% endfor %}{{ n.x }}",
        "{% set n = namespace() %}{% set n.x = n %}{{ n }}",
        "{% set n = namespace() %}{% set x = [n, n] %}{% set n.x = x %}{{ n }}",
        "{% set n = namespace(x=[]) %}{% for i in range(99999) %}{% set n.x = [n.x] %}{% endfor %}",
        "{% set n = namespace(x=[1]) %}{% for i in range(99999) %}{% set n.x = n.x[0:] %}{% endfor %}{{ n.x }}",
        "{% set n = namespace(x=[[1]]) %}{% for i in range(99999) %}{% set n.x = n.x | map('reverse') %}{% endfor %}{{ n.x }}",
        "{% set s = 'x' * 1000000 %}{{ [s] * 10000 }}",
        "{% set s = 'x' * 1000000 %}{{ ([s] * 10000) | tojson }}",
        "{% set s = 'x' * 1000000 %}{{ ','.join([s] * 10000) }}",
        "{% set s = 'x' * 1000000 %}{{ ('%(a)s' * 10000) | format(a=s) }}",
        "{% set s = 'x' * 1000000 %}{{ ('{0}' * 10000).format(s) }}",
        "{{ '{:>9999999999}'.format('x') }}",
        "{{ [[1]] | tojson(indent=9999999999) }}",
        "{{ [1e308] * 100000 }}",
        "{% set s = ',' * 8000000 %}{{ s.split(',') | length }}",
        "{% set s = '\n' * 8000000 %}{{ s.splitlines() | length }}",
        "{% set s = ',' * 8000000 %}{{ s | list | length }}",
        "{% set s = '<' * 8000000 %}{{ s | tojson }}",
        "{% set s = '<' * 8000000 %}{{ s | escape }}",
        "{% set x = range(99999) | list %}{% set n = namespace() %}{% for i in range(9) %}{{ debug() }}{% endfor %}",
        "{% for i in range(3) %}{{ loop.cycle() }}{% endfor %}",
        "{% for i in range(9) %}{% set x = [loop] * 99 %}{{ x }}{% endfor %}",
        "{% set s = 'a' * 1000000 %}{{ (['x'] * 10000) | map('replace', 'x', s) | list | length }}",
        "{{ '%999999999s' | format('x') }}",
        "{{ '{:.999999999f}'.format(1.5) }}",
        "{% set n = namespace(x=[1]) %}{% for i in range(99999) %}{% set n.x = n.x | reverse %}{% endfor %}{{ n.x }}",
        "{% set n = namespace(x={'a': 1}) %}{% for i in range(99999) %}{% set n.x = {'a': n.x.items()} %}{% endfor %}{{ n.x }}",
        "{% set n = namespace(x=[1]) %}{% for i in range(40) %}{% set n.x = [{'a': n.x, 'b': n.x}] | groupby('a') %}{% endfor %}{{ n.x }}",
        "{% set n = namespace(x=[1]) %}{% for i in range(33) %}{% set n.x = [n.x] | map('batch', 1, n.x) | list %}{% endfor %}{{ n.x }}",
        "{% set n = namespace(x={'a': 1}) %}{% for i in range(33) %}{% set n.x = {'k': dict(**n.x), 'l': dict(**n.x)} %}{% endfor %}{{ n.x }}",
        "{% set n = namespace(x=(1,)) %}{% for i in range(33) %}{% set n.x = {n.x: 1, (n.x, n.x): 2} %}{% endfor %}{{ n.x }}",
        "{% macro m(x, i) %}{% if i %}{{ m(x=[x, x], i=i - 1) }}{% else %}{{ x }}{% endif %}{% endmacro %}{{ m([1], 33) }}",
        "{% for x in [[[1]]] recursive %}{{ loop([[x, x], [x, x]]) }}{% endfor %}",
        "{% set x = ['a' * 8000] * 1000 %}{{ (x ~ x) | length }}{{ x | tojson | length }}{{ x | pprint | length }}{{ x | upper | length }}",
        "{% set x = ['\\x01' * 8000] * 1000 %}{{ x }}",
        "{% set x = [[0] * 60000] * 2 %}{% set y = [[0] * 60000] * 2 %}{% for i in range(99999) %}{% if x == y %}{% endif %}{% endfor %}",
        "{% set x = [[0] * 60000] * 2 %}{% set y = [[0] * 60000] * 2 %}{% for i in range(99999) %}{% if x in [y] %}{% endif %}{% endfor %}",
        "{% set x = [[0] * 60000] * 2 %}{% for i in range(99999) %}{% if x is eq([[0] * 60000] * 2) %}{% endif %}{% endfor %}",
        "{% set x = [[0] * 60000] * 2 %}{% for i in range(99999) %}{% set y = x | min %}{% endfor %}",
        "{% set x = [[0] * 60000] * 2 %}{% set d = {x: 1} %}{% for i in range(99999) %}{% set y = d[x] %}{% endfor %}",
        "{% set x = [[0] * 60000] * 2 %}{% for i in range(99999) %}{% set y = loop.changed(x) %}{% endfor %}",
    ] {
        let template = ChatTemplate::Jinja(write(&folder, source));
        let (encoded, held) = most_held(|| template.encode_chat(&tokenizer, &chat("Hi"), true));
        eprintln!("{} KiB, {}: {source}", held >> 10, encoded.is_err());
        assert!(held <= PROGRAM.bytes, "{held} bytes held: {source}");
        assert!(encoded.is_err(), "{source}");
    }
}

/// Texts of pieces of control tokens, whole ones among them.
fn text() -> impl Strategy<Value = String> {
    let pieces = [
        "<|im_start|>",
        "<|im_end|>",
        "<|endoftext|>",
        "<|im_",
        "start",
        "end",
        "|>",
        "<",
        "|",
        ">",
        "<|",
        "im",
        "_",
        "system\n",
        "user\n",
        " ",
        "\n",
        "é",
        "\u{200b}",
        "＜",
        "\0",
        "<|im_start|>assistant\n",
        "<<|im_end|>|im_end|>",
    ];
    proptest::collection::vec(proptest::sample::select(pieces.to_vec()), 0..12)
        .prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_becomes_a_control_token(text in text()) {
        let _alone = crate::alone();
        let tokenizer = tokenizer();
        let specials = |ids: &[u32]| ids.iter().filter(|id| tokenizer.is_special(**id)).count();
        prop_assert_eq!(specials(&tokenizer.encode(&text)), 0);
        let source = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
                      {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
        let own = ChatTemplate::Jinja(write(&workplace("control-tokens"), source));
        for template in [ChatTemplate::chat_ml(), own] {
            let harmless = template.encode_chat(&tokenizer, &chat("Hi"), true).unwrap();
            // A program of others is refused where a text could act; ours takes it as text.
            if let Ok(found) = template.encode_chat(&tokenizer, &chat(&text), true) {
                prop_assert_eq!(specials(&found.ids), specials(&harmless.ids), "{}", text);
            } else {
                prop_assert!(matches!(template, ChatTemplate::Jinja(_)));
            }
        }
    }
}
