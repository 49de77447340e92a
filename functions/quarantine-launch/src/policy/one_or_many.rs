//! A value that may be written as one or as several.

use schemars::JsonSchema;
use serde::de::Deserializer;
use serde::{Deserialize, Serialize};

/// A text, or a list of them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
#[serde(into = "TextOrList")]
#[schemars(with = "TextOrList")]
pub struct OneOrMany(pub(super) Vec<String>);

impl OneOrMany {
    /// The texts; none where the key was left out.
    #[must_use]
    pub fn all(&self) -> &[String] {
        &self.0
    }

    pub(super) fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// The same, where there is any.
    pub(super) fn some(self) -> Option<Vec<String>> {
        (!self.0.is_empty()).then_some(self.0)
    }
}

/// How it is written.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
enum TextOrList {
    One(String),
    Many(#[schemars(length(min = 1))] Vec<String>),
}

impl From<OneOrMany> for TextOrList {
    fn from(OneOrMany(mut texts): OneOrMany) -> Self {
        match texts.pop() {
            Some(one) if texts.is_empty() => Self::One(one),
            last => {
                texts.extend(last);
                Self::Many(texts)
            }
        }
    }
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrManyVisitor).map(Self)
    }
}

/// By hand, so that an account's id without quotes is named as what it is: YAML reads a number.
struct OneOrManyVisitor;

impl<'de> serde::de::Visitor<'de> for OneOrManyVisitor {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a text or a list of texts (put numbers such as account ids in quotes)")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<String>, E> {
        Ok(vec![text.to_owned()])
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Vec<String>, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = list.next_element::<OneOrMany>()? {
            texts.extend(text.0);
        }
        if texts.is_empty() {
            return Err(serde::de::Error::custom(
                "an empty list matches nothing; leave the key out",
            ));
        }
        Ok(texts)
    }
}
