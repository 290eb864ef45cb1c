//! From the text of a study file and the `--set` overrides to a [`StudySpec`], or to an error with its place.

use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, Visitor};

use super::{EarlyStopping, SpecError, StudySpec, validate};

/// The longest study file, in bytes; the same for all overrides together.
const MAX_BYTES: usize = 1 << 20;
/// Overrides at most.
const MAX_OVERRIDES: usize = 10_000;
/// Tables and lists within one another at most: what is read must be stored and read again, and readers have limits.
const MAX_DEPTH: usize = 64;

/// Reads a study file, lays the overrides (`a.b=value`) over it, resolves the defaults and checks everything that
/// can be checked without the data.
///
/// # Errors
/// The first thing that is wrong, with its line or its `--set`, and what would be right.
pub fn parse(text: &str, overrides: &[String]) -> Result<StudySpec, SpecError> {
    check_size(text, overrides)?;
    let mut table: toml::Table = toml::from_str(text).map_err(|error| syntax_error(text, &error))?;
    for set in overrides {
        match set.split_once('=').filter(|(key, _)| key.trim() == SIZE) {
            Some((_, name)) => apply_size(&mut table, name.trim(), set)?,
            None => apply(&mut table, set)?,
        }
    }
    if let Some(key) = too_deep(&table) {
        let message =
            format!("it is nested too deeply; at most {MAX_DEPTH} tables and lists within one another");
        return Err(place(SpecError::new(key, message), text, overrides));
    }
    read(table)
        .and_then(|mut spec: StudySpec| {
            validate::resolve_and_check(&mut spec)?;
            Ok(spec)
        })
        .map_err(|error| place(error, text, overrides))
}

/// The key of the sizes, and of the override that lays one of them over the file.
const SIZE: &str = "size";

/// Lays a `[size.NAME]` of the file over the rest of it.
fn apply_size(table: &mut toml::Table, name: &str, set: &str) -> Result<(), SpecError> {
    let wrong = |message: String| SpecError { set: Some(set.to_owned()), ..SpecError::new("", message) };
    let name = name.trim_matches('"');
    let sizes = match table.get(SIZE) {
        Some(toml::Value::Table(sizes)) => sizes.clone(),
        _ => toml::Table::new(),
    };
    let Some(toml::Value::Table(size)) = sizes.get(name) else {
        let known = sizes.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let known =
            if known.is_empty() { "it has no [size.NAME] at all".into() } else { format!("it has: {known}") };
        return Err(wrong(format!("the study file has no size `{name}`; {known}")));
    };
    for (key, value) in size {
        // `train.epochs = 4` without quotes is a table `train`, and it means no more than its one key.
        match (table.get_mut(key), value) {
            (Some(toml::Value::Table(section)), toml::Value::Table(over)) if !key.contains('.') => {
                over.iter()
                    .try_for_each(|(key, value)| insert(section, key, value.clone()))
                    .map_err(wrong)?;
            }
            _ => insert(table, key, value.clone()).map_err(wrong)?,
        }
    }
    Ok(())
}

fn check_size(text: &str, overrides: &[String]) -> Result<(), SpecError> {
    let (file, sets) = (text.len(), overrides.iter().map(String::len).sum::<usize>());
    let problem = if file > MAX_BYTES {
        format!("a study file of {file} bytes is too long; at most {MAX_BYTES}")
    } else if overrides.len() > MAX_OVERRIDES || sets > MAX_BYTES {
        format!(
            "{} overrides of {sets} bytes are too many; at most {MAX_OVERRIDES} of {MAX_BYTES} bytes together",
            overrides.len()
        )
    } else {
        return Ok(());
    };
    Err(SpecError::new("", problem))
}

/// The key at the top under which something is nested too deeply.
fn too_deep(table: &toml::Table) -> Option<&str> {
    // No deeper than a parser and the parts of an override's key allow, so that it may call itself.
    fn depth(value: &toml::Value) -> usize {
        match value {
            toml::Value::Table(table) => 1 + table.iter().map(|(_, value)| depth(value)).max().unwrap_or(0),
            toml::Value::Array(values) => 1 + values.iter().map(depth).max().unwrap_or(0),
            _ => 0,
        }
    }
    table.iter().find(|(_, value)| depth(value) >= MAX_DEPTH).map(|(key, _)| key.as_str())
}

/// What a table says, or an error with its key.
pub(super) fn read<T: DeserializeOwned>(table: toml::Table) -> Result<T, SpecError> {
    serde_path_to_error::deserialize(toml::Value::Table(table)).map_err(|error| {
        let path = error.path().to_string();
        let key = if path == "." { String::new() } else { path };
        unknown_key(key, error.inner().message())
    })
}

/// `early_stopping = { patience = 5 }`, or `false` for none.
pub(super) fn early_stopping<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<EarlyStopping>, D::Error> {
    struct OffOrTable;

    impl<'de> Visitor<'de> for OffOrTable {
        type Value = Option<EarlyStopping>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a table such as { patience = 5, min_delta = 0.0 }, or false")
        }

        fn visit_bool<E: serde::de::Error>(self, on: bool) -> Result<Self::Value, E> {
            if on { Err(E::invalid_value(serde::de::Unexpected::Bool(true), &self)) } else { Ok(None) }
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            EarlyStopping::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(Some)
        }
    }

    deserializer.deserialize_any(OffOrTable)
}

fn syntax_error(text: &str, error: &toml::de::Error) -> SpecError {
    let line = error.span().map(|span| line_of(text, span.start));
    SpecError { line, ..SpecError::new("", error.message().to_owned()) }
}

/// Lays one `a.b=value` over a table.
pub(super) fn apply(table: &mut toml::Table, set: &str) -> Result<(), SpecError> {
    let wrong = |message: String| SpecError { set: Some(set.to_owned()), ..SpecError::new("", message) };
    let (path, value) =
        set.split_once('=').ok_or_else(|| wrong("write it as key=value, such as budget.trials=6".into()))?;
    let value = value.trim();
    // A bare word is a string, so that `--set data.dataset=mnist` needs no quotes inside quotes.
    let value = toml::from_str::<toml::Table>(&format!("value = {value}"))
        .ok()
        .and_then(|mut parsed| if parsed.len() == 1 { parsed.remove("value") } else { None })
        .unwrap_or_else(|| toml::Value::String(value.to_owned()));
    if path.split('.').count() > MAX_DEPTH {
        let parts = path.split('.').count();
        return Err(SpecError::new("", format!("an override's key has {parts} parts; at most {MAX_DEPTH}")));
    }
    insert(table, path, value).map_err(wrong)
}

/// Puts a value at a dotted key, with the tables on the way there.
fn insert(table: &mut toml::Table, path: &str, value: toml::Value) -> Result<(), String> {
    let mut keys: Vec<&str> = path.split('.').map(str::trim).collect();
    let last = keys.pop().unwrap_or_default();
    if last.is_empty() || keys.iter().any(|key| key.is_empty()) {
        return Err("a part of the key is empty; write it as key=value, such as budget.trials=6".into());
    }
    let mut inner = table;
    for key in keys {
        let entry = inner.entry(key).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        inner = match entry {
            toml::Value::Table(table) => table,
            _ => return Err(format!("`{key}` is no table in this file")),
        };
    }
    inner.insert(last.to_owned(), value);
    Ok(())
}

/// Makes serde's message about an unknown key one with the key in its place and the nearest known one.
fn unknown_key(parent: String, message: &str) -> SpecError {
    let words = |text: &str| -> Vec<String> {
        text.split('`').enumerate().filter(|(at, _)| at % 2 == 1).map(|(_, word)| word.to_owned()).collect()
    };
    let (is_key, rest) =
        match (message.strip_prefix("unknown field "), message.strip_prefix("unknown variant ")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return SpecError::new(parent, message),
        };
    let mut known = words(rest);
    if known.is_empty() {
        return SpecError::new(parent, message);
    }
    let found = known.remove(0);
    let nearest = nearest(&found, known.iter().map(String::as_str));
    let meant = nearest.map(|word| format!("; did you mean `{word}`?")).unwrap_or_default();
    let known = known.join(", ");
    if is_key {
        let key = if parent.is_empty() || parent.split('.').next_back() == Some(found.as_str()) {
            if parent.is_empty() { found } else { parent }
        } else {
            format!("{parent}.{found}")
        };
        SpecError::new(key, format!("unknown key{meant} (known here: {known})"))
    } else {
        SpecError::new(parent, format!("unknown value `{found}`{meant} (known: {known})"))
    }
}

/// The known word nearest to what was written, if one is near.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Finds the `--set` or the line that an error's key comes from.
pub fn place(mut error: SpecError, text: &str, overrides: &[String]) -> SpecError {
    let related = |set: &str| {
        let path: String =
            set.split('=').next().unwrap_or_default().split('.').map(str::trim).collect::<Vec<_>>().join(".");
        let within = |outer: &str, inner: &str| {
            inner == outer || inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('.'))
        };
        !error.key.is_empty() && (within(&path, &error.key) || within(&error.key, &path))
    };
    if let Some(set) = overrides.iter().rev().find(|set| related(set)) {
        error.set = Some(set.clone());
        return error;
    }
    error.line = error.line.or_else(|| line_of_key(text, &error.key));
    error
}

/// The line of a dotted key; of the innermost part of it that stands in the file.
fn line_of_key(text: &str, key: &str) -> Option<usize> {
    let document = toml_edit::Document::parse(text).ok()?;
    let mut table: &dyn toml_edit::TableLike = document.as_table();
    let mut line = None;
    for part in key.split('.') {
        let Some((key, item)) = table.get_key_value(part) else { break };
        if let Some(span) = key.span().or_else(|| item.span()) {
            line = Some(line_of(text, span.start));
        }
        match item.as_table_like() {
            Some(inner) => table = inner,
            None => break,
        }
    }
    line
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}
