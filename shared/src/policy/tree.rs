//! A document as a tree in which every place knows its path and line.

use std::cell::Cell;
use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess,
    Visitor,
};
use serde_saphyr::{Error, NonFiniteFloatPolicy, Options, Spanned};

use super::mistake::Mistake;
use crate::text;

/// A place of the document.
#[derive(Debug)]
pub(super) struct Node {
    /// Keys and indices from the top: `snapshot-volumes.plans[1]`. It stays when a place before it
    /// is taken out.
    pub(super) path: String,
    /// Where the value stands.
    pub(super) line: Option<u64>,
    /// Where its key stands; an item of a list has none.
    pub(super) key_line: Option<u64>,
    pub(super) content: Content,
}

/// What stands in a place.
#[derive(Debug)]
pub(super) enum Content {
    Nothing,
    Scalar {
        /// As it is written: `007` where a text is wanted.
        text: String,
        /// As YAML understands it.
        meaning: Meaning,
    },
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// What a scalar is to YAML.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Meaning {
    Text,
    Truth(bool),
    Above(u64),
    Below(i64),
    Fraction(f64),
}

impl Node {
    /// Takes out what stands at `path`, below this node.
    pub(super) fn remove(&mut self, path: &str) {
        match &mut self.content {
            Content::List(items) => {
                items.retain(|item| item.path != path);
                for item in items {
                    item.remove(path);
                }
            }
            Content::Map(entries) => {
                entries.retain(|(_, value)| value.path != path);
                for (_, value) in entries {
                    value.remove(path);
                }
            }
            Content::Nothing | Content::Scalar { .. } => {}
        }
    }

    fn child(&self, step: &str) -> Option<&Self> {
        match &self.content {
            Content::Map(entries) => entries
                .iter()
                .find_map(|(key, value)| (key == step).then_some(value)),
            Content::List(items) => items.get(step.parse::<usize>().ok()?),
            Content::Nothing | Content::Scalar { .. } => None,
        }
    }

    fn of(raw: Spanned<Raw>, path: String, key_line: Option<u64>, document: &str) -> Self {
        let line = known(raw.referenced.line());
        let source = || {
            let span = raw.defined.span();
            let start = usize::try_from(span.byte_offset()?).ok()?;
            let length = usize::try_from(span.byte_len()?).ok()?;
            document.get(start..start.checked_add(length)?)
        };
        let content = match raw.value {
            Raw::Nothing => Content::Nothing,
            Raw::Text(text) => Content::Scalar {
                text,
                meaning: Meaning::Text,
            },
            Raw::Other(meaning) => Content::Scalar {
                text: source().unwrap_or_default().to_owned(),
                meaning,
            },
            Raw::List(items) => Content::List(
                (0..)
                    .zip(items)
                    .map(|(index, item): (usize, _)| {
                        Self::of(item, format!("{path}[{index}]"), None, document)
                    })
                    .collect(),
            ),
            Raw::Map(entries) => Content::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| {
                        let below = if path.is_empty() {
                            text::name(&key.value)
                        } else {
                            format!("{path}.{}", text::name(&key.value))
                        };
                        let key_line = known(key.referenced.line());
                        let node = Self::of(value, below, key_line, document);
                        (key.value, node)
                    })
                    .collect(),
            ),
        };
        Self {
            path,
            line,
            key_line,
            content,
        }
    }
}

fn known(line: u64) -> Option<u64> {
    (line > 0).then_some(line)
}

/// The lines of all places of a document.
#[derive(Debug, Default)]
pub struct Lines(Option<Node>);

impl Lines {
    /// Reads a document of whatever sections.
    pub fn of(document: &str) -> Result<Self, Mistake> {
        let document = without_mark(document);
        let raw = serde_saphyr::from_str_with_options(document, options());
        let raw: Spanned<Raw> = raw.map_err(|error| form("", &error))?;
        Ok(Self(Some(Node::of(raw, String::new(), None, document))))
    }

    /// Whether the document has this section.
    #[must_use]
    pub fn has(&self, section: &str) -> bool {
        self.0
            .as_ref()
            .is_some_and(|node| node.child(section).is_some())
    }

    /// The line of `snapshot-volumes.plans[1].keep`, or of what is nearest above it: what is left
    /// out has no place of its own.
    #[must_use]
    pub fn line(&self, path: &str) -> Option<u64> {
        let mut node = self.0.as_ref()?;
        let mut line = None;
        for step in path.split(['.', '[']) {
            let Some(child) = node.child(step.trim_end_matches(']')) else {
                break;
            };
            node = child;
            line = node.line;
        }
        line
    }
}

/// The `section` of a document; none when it is left out. The `others` must only be YAML.
pub(super) fn section(
    document: &str,
    section: &'static str,
    others: &'static [&'static str],
) -> Result<Option<Node>, Mistake> {
    let document = without_mark(document);
    let inside = Cell::new(false);
    let read = serde_saphyr::with_deserializer_from_str_with_options(
        document,
        options(),
        |deserializer| {
            let inside = &inside;
            Sections {
                section,
                others,
                inside,
            }
            .deserialize(deserializer)
        },
    );
    let path = if inside.get() { section } else { "" };
    let found = read.map_err(|error| form(path, &error))?;
    Ok(found.map(|(key_line, raw)| Node::of(raw, section.to_owned(), key_line, document)))
}

/// A byte order mark isn't counted in the places that the parser tells.
fn without_mark(document: &str) -> &str {
    document.strip_prefix('\u{feff}').unwrap_or(document)
}

/// Far more than a parameter holds (8 KB), far less than would cost memory: aliases let a short
/// document say much.
fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 24,
            max_nodes: 20_000,
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 20_000,
        },
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
    }
}

/// The document as a map of known sections, of which one is read.
struct Sections<'a> {
    section: &'static str,
    others: &'static [&'static str],
    /// Whether the parser is in it.
    inside: &'a Cell<bool>,
}

type Found = Option<(Option<u64>, Spanned<Raw>)>;

impl<'de> DeserializeSeed<'de> for Sections<'_> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Sections<'_> {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of keys and values")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Found, E> {
        // An empty document: every section keeps its default.
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            if key.value == self.section {
                self.inside.set(true);
                found = Some((known(key.referenced.line()), map.next_value()?));
                self.inside.set(false);
            } else if self.others.contains(&key.value.as_str()) {
                map.next_value::<IgnoredAny>()?;
            } else {
                return Err(A::Error::unknown_field(&key.value, self.others));
            }
        }
        Ok(found)
    }
}

/// Any YAML, as the parser hands it over.
enum Raw {
    Nothing,
    Text(String),
    Other(Meaning),
    List(Vec<Spanned<Self>>),
    Map(Vec<(Spanned<String>, Spanned<Self>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Anything)
    }
}

struct Anything;

impl<'de> Visitor<'de> for Anything {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Raw, E> {
        Ok(Raw::Nothing)
    }

    fn visit_bool<E: serde::de::Error>(self, truth: bool) -> Result<Raw, E> {
        Ok(Raw::Other(Meaning::Truth(truth)))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Raw, E> {
        Ok(Raw::Other(Meaning::Below(number)))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Raw, E> {
        Ok(Raw::Other(Meaning::Above(number)))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Raw, E> {
        Ok(Raw::Other(Meaning::Fraction(number)))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }
}

/// What keeps a document from being read at all, in the words of whoever writes YAML: never in
/// those of the parser's own types and settings.
fn form(path: &str, error: &Error) -> Mistake {
    Mistake {
        path: path.to_owned(),
        line: error.location().and_then(|at| known(at.line())),
        problem: why(error.without_snippet()),
    }
}

fn why(error: &Error) -> String {
    match error {
        Error::AliasError { error, .. } => return why(error),
        Error::ExternalMessage { msg, .. } => {
            return format!("isn't YAML: {}", text::clip(msg, 200));
        }
        Error::SerdeUnknownField {
            field, expected, ..
        } => {
            return format!(
                "unknown section `{}`; expected {}",
                text::name(field),
                expected.join(", ")
            );
        }
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            return format!("{} stands here for the second time", text::name(key));
        }
        _ => {}
    }
    let words = match error {
        Error::DuplicateMappingKey { .. } => "a key stands here for the second time",
        Error::MultipleDocuments { .. } => {
            "a second YAML document begins here, and a policy is one"
        }
        Error::Eof { .. } => "ends too early",
        Error::Unexpected {
            expected: "mapping start",
            ..
        }
        | Error::SerdeInvalidType { .. } => "expected a map of keys and values",
        Error::UnknownAnchor { .. } => {
            "an alias (`*name`) names an anchor (`&name`) that doesn't stand before it"
        }
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            "an alias (`*name`) stands inside of what it repeats"
        }
        Error::MergeValueNotMapOrSeqOfMaps { .. } => "`<<` takes a map, or a list of maps",
        Error::Budget { .. }
        | Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => {
            "is too long, nested too deeply, or repeats itself too often by aliases (`*name`)"
        }
        Error::InvalidScalar { .. }
        | Error::TaggedScalarCannotDeserializeIntoString { .. }
        | Error::InvalidBinaryBase64 { .. }
        | Error::BinaryNotUtf8 { .. }
        | Error::UnsupportedTag { .. } => {
            "what stands here isn't what its tag (`!…`) says; write it without the tag"
        }
        Error::NullIntoString { .. }
        | Error::Unexpected {
            expected: "string scalar",
            ..
        } => "a key must be a text",
        _ => "can't be read as YAML",
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_has_its_line() {
        let lines = Lines::of(
            "a:\n  list:\n    - {x: 1}\n    - x: 2\n      y: [1, 2.5,\n          null]\n\nb: true\n",
        )
        .unwrap();
        for (path, line) in [
            ("a", Some(2)),
            ("a.list[0]", Some(3)),
            ("a.list[0].x", Some(3)),
            ("a.list[1]", Some(4)),
            ("a.list[1].y", Some(5)),
            ("a.list[1].y[2]", Some(6)),
            ("b", Some(8)),
            // What isn't there: the nearest above.
            ("a.list[1].z", Some(4)),
            ("a.list[7]", Some(3)),
            ("c", None),
            ("c.d", None),
        ] {
            assert_eq!(lines.line(path), line, "{path}");
        }
        assert!(lines.has("a") && lines.has("b") && !lines.has("list"));
        assert_eq!(Lines::of("a:\n  [").err().unwrap().line, Some(2));
        for nothing in ["", "# nothing", "text"] {
            let lines = Lines::of(nothing).unwrap();
            assert_eq!(
                (lines.line("a"), lines.has("a")),
                (None, false),
                "{nothing}"
            );
        }
    }

    #[test]
    fn a_scalar_is_kept_as_it_is_written() {
        let scalars = "a: [007, 0x1f, 1_000, 1e3, .inf, 012345678901, true, on, \"7\", ä, -3]";
        for document in [scalars.to_owned(), format!("\u{feff}# ä ö ü\n{scalars}\n")] {
            let document = without_mark(&document);
            let raw = serde_saphyr::from_str_with_options(document, options()).unwrap();
            let node = Node::of(raw, String::new(), None, document);
            let Content::List(items) = &node.child("a").unwrap().content else {
                panic!("a list");
            };
            let texts: Vec<&str> = items
                .iter()
                .map(|item| match &item.content {
                    Content::Scalar { text, .. } => text.as_str(),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(
                texts,
                [
                    "007",
                    "0x1f",
                    "1_000",
                    "1e3",
                    ".inf",
                    "012345678901",
                    "true",
                    "on",
                    "7",
                    "ä",
                    "-3"
                ]
            );
        }
    }
}
