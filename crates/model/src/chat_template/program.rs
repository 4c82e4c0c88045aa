//! A program of others with calls of the bounds of its values (`bounds.rs`) among its instructions.
use std::sync::Arc;

use minijinja::machinery::{CompiledTemplate, Instruction, Instructions, TemplateConfig};
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Error, Value};

use super::bounds::{ASSIGNED, BOUNDED, IS_OBJECT, PAID};

/// An instruction's place among those whose function is looked up once: none.
const NOT_KEPT: u8 = !0;
/// Filters of one argument that compare what is in it.
const COMPARING_FILTERS: [&str; 2] = ["min", "max"];
/// `loop.cycle` divides by the number of its arguments.
const CYCLE: &str = "cycle";
const CYCLE_OF_NONE: &str = "cycle()";

/// `source` as a program.
///
/// # Errors
/// When it is none.
pub(super) fn compile(source: &str, syntax: SyntaxConfig) -> Result<CompiledTemplate<'_>, Error> {
    let config = TemplateConfig {
        syntax_config: syntax,
        default_auto_escape: Arc::new(|_| AutoEscape::None),
    };
    let mut program = CompiledTemplate::new("<string>", source, &config)?;
    let blocks = program.blocks.values_mut();
    for instructions in std::iter::once(&mut program.instructions).chain(blocks) {
        *instructions = guarded(instructions);
    }
    Ok(program)
}

/// `old` with what [`before`] and [`after`] give for each instruction, and jumps to where the same instructions are now.
fn guarded<'source>(old: &Instructions<'source>) -> Instructions<'source> {
    let all = (0..).map_while(|index| old.get(index));
    let mut starts = vec![0];
    for instruction in all.clone() {
        let start = starts[starts.len() - 1];
        let length = before(instruction).len() + 1 + after(instruction, 0).len();
        starts.push(start + u32::try_from(length).expect("seven at most"));
    }
    let moved = |target: u32| starts[target as usize];
    let mut new = Instructions::new(old.name(), old.source());
    for (index, instruction) in (0..).zip(all) {
        let own = match instruction {
            Instruction::Jump(target) => Instruction::Jump(moved(*target)),
            Instruction::JumpIfFalse(target) => Instruction::JumpIfFalse(moved(*target)),
            Instruction::JumpIfFalseOrPop(target) => Instruction::JumpIfFalseOrPop(moved(*target)),
            Instruction::JumpIfTrueOrPop(target) => Instruction::JumpIfTrueOrPop(moved(*target)),
            Instruction::Iterate(target) => Instruction::Iterate(moved(*target)),
            Instruction::BuildMacro(name, target, flags) => {
                Instruction::BuildMacro(name, moved(*target), *flags)
            }
            Instruction::CallMethod(CYCLE, count @ (None | Some(1))) => {
                Instruction::CallMethod(CYCLE_OF_NONE, *count)
            }
            other => other.clone(),
        };
        let next = moved(index + 1);
        let parts = before(instruction).into_iter().chain([own]);
        for part in parts.chain(after(instruction, next)) {
            match old.get_line(index) {
                Some(line) => new.add_with_line(part, u16::try_from(line).unwrap_or(u16::MAX)),
                None => new.add(part),
            };
        }
    }
    new
}

/// What comes before an instruction: it pays for a comparison with what is on top, or bounds what a namespace comes to hold.
fn before<'source>(instruction: &Instruction<'source>) -> Vec<Instruction<'source>> {
    let compares = match instruction {
        Instruction::Eq
        | Instruction::Ne
        | Instruction::Gt
        | Instruction::Gte
        | Instruction::Lt
        | Instruction::Lte
        | Instruction::In
        | Instruction::GetItem
        | Instruction::CompareAndPreserve(_) => true,
        Instruction::PerformTest(_, count, _) | Instruction::CallMethod(_, count) => {
            *count != Some(1)
        }
        Instruction::ApplyFilter(name, count, _) => {
            *count != Some(1) || COMPARING_FILTERS.contains(name)
        }
        _ => false,
    };
    match instruction {
        Instruction::SetAttr(name) => vec![
            Instruction::LoadConst(Value::from(*name)),
            Instruction::CallFunction(ASSIGNED, Some(3)),
            Instruction::UnpackList(2),
        ],
        _ if compares => vec![
            Instruction::DupTop,
            Instruction::PerformTest(PAID, Some(1), NOT_KEPT),
            Instruction::DiscardTop,
        ],
        _ => Vec::new(),
    }
}

/// What comes after an instruction that makes a value, up to `next`: texts and numbers stay as they are.
fn after<'source>(instruction: &Instruction<'source>, next: u32) -> Vec<Instruction<'source>> {
    match instruction {
        Instruction::Slice
        | Instruction::BuildMap(_)
        | Instruction::BuildList(_)
        | Instruction::BuildTuple(_)
        | Instruction::Add
        | Instruction::Mul
        | Instruction::ApplyFilter(..)
        | Instruction::CallFunction(..)
        | Instruction::CallMethod(..)
        | Instruction::CallObject(_) => vec![
            Instruction::DupTop,
            Instruction::PerformTest(IS_OBJECT, Some(1), NOT_KEPT),
            Instruction::JumpIfFalse(next),
            Instruction::CallFunction(BOUNDED, Some(1)),
        ],
        _ => Vec::new(),
    }
}
