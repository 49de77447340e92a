//! Reading a section from its tree: all of its mistakes at once, in the words of whoever wrote it.
//!
//! The tree is read by the section's own types. What they refuse is taken out of the tree, and what
//! is left is read again, until nothing more is refused.

use std::fmt::Display;

use serde::de::value::{BorrowedStrDeserializer, StrDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error, Expected, IntoDeserializer, MapAccess,
    SeqAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

use super::mistake::Mistake;
use super::tree::{Content, Meaning, Node};

use crate::text;

/// Nobody corrects more at once.
const MOST_MISTAKES: usize = 50;
/// Most characters of what is wrong in one place.
const LONGEST: usize = 400;

/// Reads a section.
pub(super) fn read<P: DeserializeOwned>(mut root: Node) -> Result<P, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let mut removed: Vec<String> = Vec::new();
    while mistakes.len() < MOST_MISTAKES {
        let problem = match P::deserialize(&root) {
            Ok(policy) if mistakes.is_empty() => return Ok(policy),
            Ok(_) => break,
            Err(problem) => problem.at(&root, root.line),
        };
        let (path, line) = problem.place.unwrap_or_default();
        // Where something was taken out, what is left may be wrong for that alone.
        let consequence = match problem.missing {
            Some(key) => removed.contains(&format!("{path}.{key}")),
            None => removed.iter().any(|gone| is_below(gone, &path)),
        };
        let at_root = path == root.path;
        if !consequence {
            mistakes.push(Mistake {
                path: path.clone(),
                line,
                problem: problem.text,
            });
        }
        if at_root {
            break;
        }
        root.remove(&path);
        removed.push(path);
    }
    mistakes.sort_by_key(|mistake| mistake.line);
    Err(mistakes)
}

fn is_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above)
        .is_some_and(|rest| rest.starts_with(['.', '[']))
}

/// Why a section's types refuse a place.
#[derive(Debug)]
pub(super) struct Problem {
    /// Path and line of the place, once they are known.
    place: Option<(String, Option<u64>)>,
    /// The key, where it is that one is missing.
    missing: Option<&'static str>,
    text: String,
}

impl Problem {
    fn new(text: impl Into<String>) -> Self {
        Self {
            place: None,
            missing: None,
            text: text.into(),
        }
    }

    fn expected(expected: &dyn Expected) -> Self {
        Self::new(format!("expected {}", words(expected)))
    }

    /// In this place, unless it is known to be further below.
    fn at(mut self, node: &Node, line: Option<u64>) -> Self {
        self.place.get_or_insert_with(|| (node.path.clone(), line));
        self
    }
}

/// What was expected, without the names of Rust's types.
fn words(expected: &dyn Expected) -> String {
    const NUMBERS: [&str; 12] = [
        "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize",
    ];
    let text = expected.to_string();
    match text.as_str() {
        "a string" | "a borrowed string" | "a character" => "a text".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a map of keys and values".to_owned(),
        number if NUMBERS.contains(&number) => "a whole number, 0 or more".to_owned(),
        number if number.starts_with("a nonzero ") => "a whole number, 1 or more".to_owned(),
        map if map.starts_with("struct ") => "a map of keys and values".to_owned(),
        _ => text,
    }
}

impl std::error::Error for Problem {}

impl Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Problem {
    fn custom<T: Display>(text: T) -> Self {
        Self::new(text::clip(&text.to_string(), LONGEST))
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::expected(expected)
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        match found {
            Unexpected::Unsigned(number) if number > 0 => {
                Self::new(format!("{number} is too large a number here"))
            }
            _ => Self::expected(expected),
        }
    }

    fn invalid_length(_: usize, expected: &dyn Expected) -> Self {
        Self::expected(expected)
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        Self::new(format!(
            "`{}` isn't known here; expected one of {}",
            text::name(word),
            text::choice(known)
        ))
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Self::new(format!(
            "unknown key `{}`; expected one of {}",
            text::name(key),
            text::choice(known)
        ))
    }

    fn missing_field(key: &'static str) -> Self {
        Self {
            missing: Some(key),
            ..Self::new(format!("`{key}` is missing"))
        }
    }

    fn duplicate_field(key: &'static str) -> Self {
        Self::new(format!("`{key}` stands here for the second time"))
    }
}

impl Node {
    /// A key that is written must say something: what was behind it may have been a restriction.
    fn nothing(&self) -> Problem {
        let text = if self.key_line.is_some() {
            "has nothing behind its colon; write its value, or leave the key out"
        } else {
            "is an item with nothing in it; write its value, or take the item out"
        };
        Problem::new(text).at(self, self.key_line.or(self.line))
    }
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Problem;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match &self.content {
            Content::Nothing => Err(self.nothing()),
            Content::Scalar { text, meaning } => match *meaning {
                Meaning::Text => visitor.visit_borrowed_str(text),
                Meaning::Truth(truth) => visitor.visit_bool(truth),
                Meaning::Above(number) => visitor.visit_u64(number),
                Meaning::Below(number) => visitor.visit_i64(number),
                Meaning::Fraction(number) => visitor.visit_f64(number),
            },
            Content::List(items) => {
                let mut items = Items {
                    rest: items.iter(),
                    current: None,
                };
                // What is found between two items is about the one that was just read.
                visitor
                    .visit_seq(&mut items)
                    .map_err(|problem| match items.current {
                        Some(item) => problem.at(item, item.line),
                        None => problem,
                    })
            }
            Content::Map(entries) => visitor.visit_map(Entries {
                rest: entries.iter(),
                value: None,
            }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.content {
            Content::Nothing => Err(self.nothing()),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match &self.content {
            Content::Scalar { text, .. } => visitor.visit_borrowed_str(text),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_str(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        match &self.content {
            Content::Nothing => Err(self.nothing()),
            Content::Scalar { text, .. } => visitor.visit_enum(BorrowedStrDeserializer::new(text)),
            Content::List(_) | Content::Map(_) => Err(Problem::new("expected one word")),
        }
    }

    // By itself a struct takes a list too, its values in their order.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        match self.content {
            Content::List(_) => Err(Problem::new("expected a map of keys and values")),
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct
        seq tuple tuple_struct map identifier ignored_any
    }
}

struct Items<'de> {
    rest: std::slice::Iter<'de, Node>,
    current: Option<&'de Node>,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Problem;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Problem> {
        self.current = self.rest.next();
        let read = |item: &'de Node| {
            seed.deserialize(item)
                .map_err(|problem| problem.at(item, item.line))
        };
        self.current.map(read).transpose()
    }
}

struct Entries<'de> {
    rest: std::slice::Iter<'de, (String, Node)>,
    value: Option<&'de Node>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Problem;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Problem> {
        let Some((key, value)) = self.rest.next() else {
            return Ok(None);
        };
        self.value = Some(value);
        let key: StrDeserializer<'_, Problem> = key.as_str().into_deserializer();
        seed.deserialize(key)
            .map(Some)
            .map_err(|problem| problem.at(value, value.key_line))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Problem> {
        match self.value.take() {
            Some(value) => seed
                .deserialize(value)
                .map_err(|problem| problem.at(value, value.line)),
            None => Err(Problem::new("a value without a key")),
        }
    }
}
