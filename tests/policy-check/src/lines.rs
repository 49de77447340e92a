//! Where things stand in a document.

use std::fmt;

use guardrails::policy::Mistake;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// The lines of all places of a document. Without any, where it can't be read as YAML of whatever
/// form: some of what the functions read by its type is no value by itself, such as `.inf`.
#[derive(Default)]
pub(crate) struct Lines(Option<Spanned<Node>>);

/// Any YAML, without the values: only what has a place.
enum Node {
    Map(Vec<(String, Spanned<Node>)>),
    List(Vec<Spanned<Node>>),
    Value,
}

impl Lines {
    /// Reads a document.
    pub(crate) fn of(document: &str) -> Result<Self, Mistake> {
        match serde_saphyr::from_str(document) {
            Ok(node) => Ok(Self(Some(node))),
            Err(error) => Err(Mistake::of("", &error)),
        }
    }

    /// Whether the document has this section.
    pub(crate) fn has(&self, section: &str) -> bool {
        self.0
            .as_ref()
            .is_some_and(|node| node.value.child(section).is_some())
    }

    /// The line of `snapshot-volumes.plans[1].keep`, or of what is nearest above it: what is left
    /// out has no place of its own.
    pub(crate) fn line(&self, path: &str) -> Option<u64> {
        let mut node = self.0.as_ref()?;
        let mut line = None;
        for step in path.split(['.', '[']) {
            let Some(child) = node.value.child(step.trim_end_matches(']')) else {
                break;
            };
            node = child;
            line = Some(node.referenced.line()).filter(|line| *line > 0);
        }
        line
    }
}

impl Node {
    fn child(&self, step: &str) -> Option<&Spanned<Self>> {
        match self {
            Self::Map(entries) => entries
                .iter()
                .find_map(|(key, value)| (key == step).then_some(value)),
            Self::List(items) => items.get(step.parse::<usize>().ok()?),
            Self::Value => None,
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Nodes)
    }
}

struct Nodes;

impl<'de> Visitor<'de> for Nodes {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Value)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Value)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Value)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Value)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Value)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Node, E> {
        Ok(Node::Value)
    }
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
}
