//! How large a value of a program of others may be.
//!
//! The interpreter takes fuel for what an instruction writes, after it is written, and counts a list by its own items alone. Lists
//! within lists (`[x, x]`, 33 times) hold little and are as long as they claim wherever they are written out, compared or dropped,
//! and so are the views that slices, sums, products and some filters make of a list, each of the one before. So whatever
//! makes a value hands it to [`bounded`] (`program.rs`), which counts it as it would be written, all the way down, and refuses
//! too many items, bytes or levels; views become lists. The counting is paid for in fuel. Of bounded values no text is long.
use std::collections::BTreeMap;

use minijinja::value::{Kwargs, ObjectRepr, Rest, Tuple, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, Value, filters};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::jinja::OUTPUT_BYTES;

/// Most items of a value, those of its items among them.
const MOST_ITEMS: usize = 1 << 17;
/// Most levels of lists and dicts within each other.
const MOST_LEVELS: usize = 32;
/// Most spaces for each level of JSON.
const MOST_INDENT: usize = 16;
/// Items that one unit of fuel counts.
const ITEMS_PER_FUEL: usize = 8;
/// Bytes of JSON that one unit of fuel writes, as the interpreter has it.
const JSON_BYTES_PER_FUEL: usize = 4;
/// Most bytes of a function, and of what is no text or number either: a truth value, a list by itself.
const FUNCTION_BYTES: usize = 1 << 10;
const OTHER_BYTES: usize = 16;

/// Functions and tests that `program.rs` calls, under names that no program can write.
pub(super) const BOUNDED: &str = "+bounded";
pub(super) const ASSIGNED: &str = "+assigned";
pub(super) const IS_OBJECT: &str = "+object";
pub(super) const PAID: &str = "+paid";

/// Filters that put lists together or texts apart by themselves, and no chat template needs.
const UNBOUNDED_FILTERS: [&str; 5] = ["sum", "chain", "zip", "split", "lines"];

/// Gives a program what it needs, and takes from it what no bound holds for.
pub(super) fn add_to(environment: &mut Environment) {
    environment.add_function(BOUNDED, bounded);
    environment.add_function(ASSIGNED, assigned);
    environment.add_test(IS_OBJECT, |value: &Value| value.as_object().is_some());
    environment.add_test(PAID, paid);
    environment.add_filter("format", format);
    environment.add_filter("tojson", to_json);
    environment.set_unknown_method_callback(|state, value, method, args| {
        match method {
            "format" => fits(value, args)?,
            "split" | "splitlines" => is_in_few_pieces(value, args)?,
            _ => {}
        }
        unknown_method_callback(state, value, method, args)
    });
    for filter in UNBOUNDED_FILTERS {
        environment.remove_filter(filter);
    }
    // It writes all that there is.
    environment.remove_global("debug");
}

/// `value`, its views as lists.
fn bounded(state: &State, value: Value) -> Result<Value, Error> {
    let mut tally = Tally::default();
    let listed = tally.add(&value, 0)?;
    tally.pay(state)?;
    Ok(listed.unwrap_or(value))
}

/// `namespace` and the value that its `name` becomes; a namespace is bounded with all that it holds, and within nothing.
fn assigned(state: &State, value: Value, namespace: Value, name: &str) -> Result<Value, Error> {
    let mut tally = Tally::default();
    let listed = tally.add(&value, 1)?;
    let pairs = namespace
        .as_object()
        .and_then(|object| object.try_iter_pairs());
    for (_, other) in pairs
        .into_iter()
        .flatten()
        .filter(|(key, _)| key.as_str() != Some(name))
    {
        tally.add(&other, 1)?;
    }
    tally.pay(state)?;
    Ok(Tuple::from([namespace, listed.unwrap_or(value)]).into())
}

/// Pays for a comparison with `value`, which may be options by name.
fn paid(state: &State, value: ValueOrKwargs) -> Result<bool, Error> {
    let mut tally = Tally::default();
    tally.add(&value, 0)?;
    tally.pay(state)?;
    Ok(true)
}

fn format(state: &mut State, text: &Value, values: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let given: Vec<Value> = values.0.iter().map(|value| (**value).clone()).collect();
    fits(text, &given)?;
    filters::format(state, text, values)
}

/// Whether `values` may be written into `text`, each place of which may name all of them, and any number a width.
fn fits(text: &Value, values: &[Value]) -> Result<(), Error> {
    let text = text.as_str().unwrap_or_default();
    let places = text.bytes().filter(|byte| matches!(byte, b'%' | b'{'));
    let widths = text.split(|c: char| !c.is_ascii_digit());
    let widths = widths.filter(|digits| !digits.is_empty());
    let widths = widths.map(|digits| digits.parse().unwrap_or(usize::MAX));
    let mut tally = Tally::default();
    for value in values {
        tally.add(value, 0)?;
    }
    let least = tally.bytes.saturating_mul(places.count());
    let most = widths.fold(least, usize::saturating_add);
    match most <= OUTPUT_BYTES {
        true => Ok(()),
        false => Err(refused(format!(
            "a format may write {most} bytes, at most {OUTPUT_BYTES} are allowed"
        ))),
    }
}

/// Whether `text` falls into few enough pieces at what `arguments` name first, or at white space.
fn is_in_few_pieces(text: &Value, arguments: &[Value]) -> Result<(), Error> {
    let text = text.as_str().unwrap_or_default();
    let pieces = match arguments.first().and_then(Value::as_str) {
        Some(separator) => text.split(separator).count(),
        None => text.split(char::is_whitespace).count(),
    };
    match pieces <= MOST_ITEMS {
        true => Ok(()),
        false => Err(refused(format!(
            "a text falls into {pieces} pieces, at most {MOST_ITEMS} are allowed"
        ))),
    }
}

fn to_json(
    state: &State,
    value: &Value,
    indent: Option<Value>,
    options: Kwargs,
) -> Result<Value, Error> {
    let named = options.get::<Option<Value>>("indent")?;
    let width = indent.as_ref().or(named.as_ref()).and_then(Value::as_usize);
    if width.is_some_and(|width| width > MOST_INDENT) {
        return Err(refused(format!(
            "JSON is indented by {MOST_INDENT} at most"
        )));
    }
    let json = filters::tojson(value, indent, options)?;
    let length = json.as_str().map_or(0, str::len);
    state.consume_fuel((length / JSON_BYTES_PER_FUEL) as u64)?;
    Ok(json)
}

/// What has been counted.
#[derive(Default)]
struct Tally {
    items: usize,
    bytes: usize,
}

impl Tally {
    /// Counts `value`, which is `level` deep in another; the value to take in its place when there are views in it.
    fn add(&mut self, value: &Value, level: usize) -> Result<Option<Value>, Error> {
        let object = value.as_object();
        self.items += 1;
        self.bytes += match (object, value.kind()) {
            (Some(object), _) if object.repr() == ObjectRepr::Plain => FUNCTION_BYTES,
            (_, ValueKind::String) => 8 + value.as_str().map_or(0, str::len),
            (_, ValueKind::Bytes) => 8 + value.as_bytes().map_or(0, <[u8]>::len),
            (_, ValueKind::Number) => 2 + value.to_string().len(),
            _ => OTHER_BYTES,
        };
        let Some(object) = object else {
            return self.check(0, level).map(|()| None);
        };
        self.check(object.enumerator_len().unwrap_or(0), level)?;
        match object.repr() {
            ObjectRepr::Seq | ObjectRepr::Iterable => {
                if let Some(items) = object.downcast_ref::<Vec<Value>>() {
                    self.add_items(items, level, Value::from)
                } else if let Some(items) = object.downcast_ref::<Tuple>() {
                    self.add_items(items, level, |items| Tuple::from(items).into())
                } else {
                    let mut items = Vec::new();
                    for item in value.try_iter()?.checked() {
                        let item = item?;
                        items.push(self.add(&item, level + 1)?.unwrap_or(item));
                    }
                    Ok(Some(Value::from(items)))
                }
            }
            ObjectRepr::Map => match object.downcast_ref::<BTreeMap<Value, Value>>() {
                Some(map) => self.add_map(map, level),
                // What these hold may change.
                None if level > 0 && object.downcast_ref::<Kwargs>().is_none() => {
                    Err(refused("a namespace, loop or macro within a value".into()))
                }
                None => {
                    for (_, value) in object.try_iter_pairs().into_iter().flatten() {
                        self.add(&value, 1)?;
                    }
                    Ok(None)
                }
            },
            _ => Ok(None),
        }
    }

    fn add_items(
        &mut self,
        items: &[Value],
        level: usize,
        list: fn(Vec<Value>) -> Value,
    ) -> Result<Option<Value>, Error> {
        let mut listed: Option<Vec<Value>> = None;
        for (index, item) in items.iter().enumerate() {
            if let Some(item) = self.add(item, level + 1)? {
                listed.get_or_insert_with(|| items.to_vec())[index] = item;
            }
        }
        Ok(listed.map(list))
    }

    fn add_map(
        &mut self,
        map: &BTreeMap<Value, Value>,
        level: usize,
    ) -> Result<Option<Value>, Error> {
        let mut listed: Option<BTreeMap<Value, Value>> = None;
        for (key, value) in map {
            if self.add(key, level + 1)?.is_some() {
                return Err(refused("a part of a list as a key".into()));
            }
            if let Some(value) = self.add(value, level + 1)? {
                listed
                    .get_or_insert_with(|| map.clone())
                    .insert(key.clone(), value);
            }
        }
        Ok(listed.map(Value::from_object))
    }

    fn check(&self, coming: usize, level: usize) -> Result<(), Error> {
        let items = self.items.saturating_add(coming);
        let bounds = [
            (items, MOST_ITEMS, "items"),
            (self.bytes, OUTPUT_BYTES, "bytes"),
            (level, MOST_LEVELS, "levels"),
        ];
        match bounds.into_iter().find(|(found, most, _)| found > most) {
            None => Ok(()),
            Some((found, most, of)) => Err(refused(format!(
                "a value has {found} {of} or more, at most {most} are allowed"
            ))),
        }
    }

    fn pay(&self, state: &State) -> Result<(), Error> {
        state.consume_fuel((self.items / ITEMS_PER_FUEL) as u64)
    }
}

fn refused(problem: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, problem)
}
