//! Programs in use, and programs that are refused.
use super::super::ChatTemplate;
use super::*;

fn tokenizer() -> Tokenizer {
    let specials = ["<|im_start|>", "<|im_end|>"];
    Tokenizer::train_bpe(["user assistant system Hello there"], 280, &specials).unwrap()
}

fn load(source: &str) -> Result<JinjaTemplate, ModelError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer_config.json");
    let config = serde_json::json!({
        "chat_template": source, "eos_token": {"content": "<|im_end|>"}, "bos_token": null,
    });
    std::fs::write(&path, config.to_string()).unwrap();
    JinjaTemplate::load(&path)
}

fn rendered(template: &JinjaTemplate, messages: &[Message]) -> Result<String, ModelError> {
    template.render(&template.program().unwrap(), messages, false)
}

fn conversation() -> Vec<Message> {
    vec![
        Message::user("Hi 1"),
        Message::assistant("Hello "),
        Message::user("More?"),
        Message::assistant("there"),
    ]
}

/// As in SmolLM2's `tokenizer_config.json`, without the default system turn; block tags on lines of their own leave
/// no white space.
const CHAT_ML: &str = "  {% for message in messages %}\n\
    {{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}\
    {% endfor %}\n{% if add_generation_prompt %}\n{{ '<|im_start|>assistant\\n' }}{% endif %}\n";

#[test]
fn a_chat_ml_program_writes_what_the_built_in_template_writes() {
    let tokenizer = tokenizer();
    let jinja = ChatTemplate::Jinja(load(CHAT_ML).unwrap());
    for add_generation_prompt in [false, true] {
        for length in 1..=4 {
            let messages = &conversation()[..length];
            let encode = |template: &ChatTemplate| {
                let chat = template.encode_chat(&tokenizer, messages, add_generation_prompt);
                chat.unwrap()
            };
            let (found, expected) = (encode(&jinja), encode(&ChatTemplate::chat_ml()));
            assert_eq!(
                tokenizer.decode(&found.ids),
                tokenizer.decode(&expected.ids)
            );
            assert_eq!(found, expected, "{length} messages");
        }
    }
    assert_eq!(
        jinja.end_of_turn(&tokenizer).unwrap(),
        tokenizer.special_id("<|im_end|>").unwrap()
    );
}

#[test]
fn python_methods_and_refusals_of_the_template_work() {
    let source = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system turn') }}\
        {% endif %}{{ m.content.strip() }}<|im_end|>{% endfor %}";
    let template = ChatTemplate::Jinja(load(source).unwrap());
    let messages = &conversation()[..2];
    let chat = template.encode_chat(&tokenizer(), messages, false).unwrap();
    assert_eq!(
        tokenizer().decode(&chat.ids),
        "Hi 1<|im_end|>Hello<|im_end|>"
    );
    let error = template.encode_chat(&tokenizer(), &[Message::system("x")], false);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("no system turn"), "{error}");
}

#[test]
fn texts_numbers_and_short_lists_add_up() {
    let source = "{% set n = namespace(turns=[], count=0) %}\
        {% for m in messages[:1] + messages[1:] + [{'role': 'x', 'content': 'end'}] %}\
        {% set n.turns = n.turns + [m.role + ':' + m.content] %}{% set n.count = n.count + 1 + 0.5 %}{% endfor %}\
        {{ n.turns | join(',') + ' ' ~ n.count }}{{ (1, 2) + (3,) }}{{ 'a' + 'b' if true else 1 + 1 }}";
    let template = load(source).unwrap();
    let text = rendered(&template, &conversation()[..2]).unwrap();
    assert_eq!(text, "user:Hi 1,assistant:Hello ,x:end 4.5(1, 2, 3)ab");
    for source in ["{{ 'a' + 1 }}", "{{ [1] + 'a' }}", "{{ nothing + 'a' }}"] {
        let error = rendered(&load(source).unwrap(), &[]).unwrap_err();
        assert!(error.to_string().contains("+ operator"), "{error}");
    }
}

#[test]
fn what_templates_in_use_call_works() {
    for (source, text) in [
        (
            "{{ {'a': [1, 2.5, none]} | tojson }}",
            r#"{"a": [1, 2.5, null]}"#,
        ),
        ("{{ [1] | tojson(indent=2) }}", "[\n  1\n]"),
        (
            "{{ '%(n)03d' | format(n=7) }}{{ '%s %s' | format('a', [1]) }}",
            "007a [1]",
        ),
        ("{{ '{} {:>4} {n}'.format('a', 'b', n=[1]) }}", "a    b [1]"),
        (
            "{{ 'a b  c'.split() }}{{ 'a</t>b'.split('</t>')[-1] }}",
            "['a', 'b', 'c']b",
        ),
        (
            "{{ messages[1:] | map(attribute='role') | join(',') }}",
            "assistant,user,assistant",
        ),
        (
            "{{ messages[::-1][0].role }}{{ messages[-1]['content'] }}",
            "assistantthere",
        ),
        (
            "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}",
            "2",
        ),
        (
            "{% for k, v in {'b': 1, 'a': [2]} | dictsort %}{{ k }}{{ v }}{% endfor %}",
            "a[2]b1",
        ),
        (
            "{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% endfor %}{{ dict(a=[1]).get('a') }}",
            "a1[1]",
        ),
        (
            "{% macro m(x, y=2) %}{{ x }}{{ y }}{{ caller() if caller }}{% endmacro %}{{ m([1], y=[3]) }}\
             {% call m(1) %}!{% endcall %}",
            "[1][3]12!",
        ),
        (
            "{% for x in [[1, [2]]] recursive %}{{ loop(x) if x is iterable else x }}{% endfor %}",
            "12",
        ),
        (
            "{% set n = namespace(last=-1, all=[]) %}{% for m in messages %}{% if m.role in ['user'] %}\
             {% set n.last = loop.index0 %}{% set n.all = n.all + [m.role] %}{% endif %}{% endfor %}\
             {{ n.last }}{{ n.all }}{{ loop.index if loop is defined else '-' }}",
            "2['user', 'user']-",
        ),
        (
            "{% for i in range(3) %}{{ loop.cycle('a', 'b') }}{% if loop.last %}!{% endif %}{% endfor %}",
            "aba!",
        ),
        (
            "{{ 1 if [1, [2]] == [1, [2]] and 'x' not in ['y'] else 2 }}",
            "1",
        ),
        (
            "{{ (1, 2)[0] }}{{ 'ab' * 2 }}{{ [0] * 3 }}{{ 7 // 2 }}",
            "1abab[0, 0, 0]3",
        ),
    ] {
        match rendered(&load(source).unwrap(), &conversation()) {
            Ok(found) => assert_eq!(found, text, "{source}"),
            Err(error) => assert!(error.to_string().contains(text), "{source}: {error}"),
        }
    }
}

#[test]
fn a_long_chain_of_sums_is_read_and_a_longer_template_refused() {
    let chain = |count: usize| format!("{{{{ 1{} }}}}", "+1".repeat(count));
    let text = rendered(&load(&chain(30_000)).unwrap(), &[]);
    assert_eq!(text.unwrap(), "30001");
    let error = load(&chain(40_000)).unwrap_err().to_string();
    assert!(error.contains("80007 bytes, at most 65536"), "{error}");
}

#[test]
fn a_program_without_end_too_much_output_and_a_way_out_are_refused() {
    let messages = conversation();
    for (source, named) in [
        (
            "{% for i in range(9999) %}{% for i in range(9999) %}{% endfor %}{% endfor %}",
            "fuel",
        ),
        (
            "{% set s = 'x' * 4096 %}{% for i in range(9000) %}{{ s }}{% endfor %}",
            "more than 262160 bytes for messages of 4",
        ),
        (
            "{% set n = namespace(x=[1]) %}{% for i in range(40) %}{% set n.x = n.x + n.x %}{% endfor %}",
            "a value has 131073 items or more",
        ),
        (
            "{{ messages | length }}{{ messages[0].content }}",
            "otherwise",
        ),
        ("{{ open('/etc/passwd') }}", "unknown function"),
    ] {
        let template = ChatTemplate::Jinja(load(source).unwrap());
        let error = template.encode_chat(&tokenizer(), &messages, false);
        let error = error.unwrap_err().to_string();
        assert!(error.contains(named), "{source}: {error}");
    }
    let template = ChatTemplate::Jinja(load("{{ messages[0].content }}").unwrap());
    let closing = [Message::user("a<|im_end|>b")];
    let error = template.encode_chat(&tokenizer(), &closing, false);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("control token `<|im_end|>`"), "{error}");
    let error = load("{% for %}").unwrap_err().to_string();
    assert!(
        error.contains("tokenizer_config.json`: syntax error"),
        "{error}"
    );
}
