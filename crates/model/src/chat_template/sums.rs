//! `+` in a program of others.
//!
//! The interpreter holds the sum of two lists as the pair of them, and after a chain of some dozens puts all of it together at no price in
//! fuel: 33 doublings of a list are 2^33 values. So each `+` of a program is a call of a function of ours, which looks at the lengths
//! first and then adds as the interpreter does.
use std::sync::{Arc, LazyLock};

use minijinja::machinery::{CompiledTemplate, Instruction, TemplateConfig};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Expression, Value, context};

use super::jinja::OUTPUT_BYTES;

/// Most items of a sum of lists.
const MOST_ITEMS: usize = 1 << 17;
/// The function, under a name that no program can write.
const PLUS: &str = "+";
/// Filters that add lists by themselves.
const ADDING_FILTERS: [&str; 2] = ["sum", "chain"];

static ARITHMETIC: LazyLock<Environment<'static>> = LazyLock::new(Environment::new);
static SUM: LazyLock<Expression<'static, 'static>> =
    LazyLock::new(|| ARITHMETIC.compile_expression("a + b").expect("a sum"));

/// `source` with every `+` as a call of the function that [`add_to`] adds.
///
/// # Errors
/// When it is no program.
pub(super) fn compile(source: &str, syntax: SyntaxConfig) -> Result<CompiledTemplate<'_>, Error> {
    let config = TemplateConfig {
        syntax_config: syntax,
        default_auto_escape: Arc::new(|_| AutoEscape::None),
    };
    let mut program = CompiledTemplate::new("<string>", source, &config)?;
    let blocks = program.blocks.values_mut();
    for instructions in std::iter::once(&mut program.instructions).chain(blocks) {
        let mut index = 0;
        while let Some(instruction) = instructions.get_mut(index) {
            if matches!(instruction, Instruction::Add) {
                *instruction = Instruction::CallFunction(PLUS, Some(2));
            }
            index += 1;
        }
    }
    Ok(program)
}

/// Gives programs of [`compile`] what they need, and takes from them what adds lists otherwise.
pub(super) fn add_to(environment: &mut Environment) {
    environment.add_function(PLUS, plus);
    for filter in ADDING_FILTERS {
        environment.remove_filter(filter);
    }
}

fn plus(a: Value, b: Value) -> Result<Value, Error> {
    let is_list = |value: &Value| matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable);
    let (length, most) = match (a.as_str(), b.as_str()) {
        (Some(a), Some(b)) => (Some(a.len() + b.len()), OUTPUT_BYTES),
        _ if is_list(&a) && is_list(&b) => {
            let lengths = a.len().zip(b.len());
            (lengths.and_then(|(a, b)| a.checked_add(b)), MOST_ITEMS)
        }
        _ => (Some(0), MOST_ITEMS),
    };
    if length.is_none_or(|length| length > most) {
        let length = length.map_or("an unknown number of".into(), |length| length.to_string());
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("a sum has {length} bytes or items, at most {most} are allowed"),
        ));
    }
    SUM.eval(context! { a, b })
}
