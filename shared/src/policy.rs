//! The policy: one YAML document for the account, in an SSM parameter.
//!
//! Parsing is strict: an unknown key, a bad schedule or an impossible value is an error that names
//! its path and line, and then nothing is done at all. A function reads its own section; a mistake
//! inside another's section stops only that one, a mistake in the document's form stops all.

mod values;

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use aws_sdk_ssm::Client;
use aws_sdk_ssm::operation::get_parameter::GetParameterError;
use schemars::JsonSchema;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess,
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::aws::ApiError;

pub use values::{Age, Exempt, SPAN_PATTERN, TagMatch, positive_span};

/// The sections that a document may have: the guardrails of this version.
pub const SECTIONS: &[&str] = &[
    "snapshot-volumes",
    "attach-ssm-role",
    "cancel-refresh",
    "quarantine-launch",
];

/// The document that holds when there is none, with comments. A section that a document leaves
/// out keeps what stands here.
pub const BUILT_IN: &str = include_str!("../default-policy.yaml");

/// How long a document that was read is used before it is read again.
pub const CACHED_FOR: Duration = Duration::from_mins(1);

/// Whether a guardrail acts or only says what it would do.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Look and report; change nothing.
    Observe,
    /// Tell people what stands and what would be done; change nothing.
    Notify,
    /// Act.
    #[default]
    Enforce,
}

/// A guardrail's section of the document.
pub trait Section: DeserializeOwned + Send + Sync {
    /// The section's mode.
    fn mode(&self) -> Mode;

    /// What the parser takes and hardly anybody means: only what is certain from the section
    /// alone. Paths begin below the section; [`warnings`] adds its name.
    fn warnings(&self) -> Vec<Remark> {
        Vec::new()
    }

    /// Parameters of the stack without which what the section asks for can't be done. Whether they
    /// are set can't be told from the section, so this is for whoever writes it and no warning.
    fn requirements(&self) -> Vec<Remark> {
        Vec::new()
    }
}

/// Something worth saying about a place of the document. In JSON it is one text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct Remark {
    /// Where, from the top: `snapshot-volumes.plans[1]`.
    pub path: String,
    /// What, and what to do about it.
    pub text: String,
}

impl Remark {
    /// A remark about `path`.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            text: text.into(),
        }
    }

    fn below(self, section: &str) -> Self {
        Self {
            path: format!("{section}.{}", self.path),
            ..self
        }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.text)
    }
}

impl From<Remark> for String {
    fn from(remark: Remark) -> Self {
        remark.to_string()
    }
}

/// What is hardly meant in `section`: for the report of each run, and for whoever checks a
/// document before it is put.
pub fn warnings(policy: &impl Section, section: &str) -> Vec<Remark> {
    let remarks = policy.warnings().into_iter();
    remarks.map(|remark| remark.below(section)).collect()
}

/// What `section` takes of the stack.
pub fn requirements(policy: &impl Section, section: &str) -> Vec<Remark> {
    let remarks = policy.requirements().into_iter();
    remarks.map(|remark| remark.below(section)).collect()
}

/// A section as it holds now, and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Effective<P> {
    /// The section.
    pub policy: P,
    /// `version 3 of /ec2-guardrails/policy` or `built-in default`.
    pub origin: String,
}

/// Why there is no policy. Nothing has been done.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The document is wrong.
    #[error("policy ({origin}): {mistake}; nothing was done. Correct it and put it again")]
    Invalid {
        /// Which document.
        origin: String,
        /// What is wrong with it.
        mistake: Mistake,
    },
    /// The parameter can't be read.
    #[error("policy parameter {parameter} can't be read, nothing was done: {error}")]
    Unreadable {
        /// The parameter's name.
        parameter: String,
        /// AWS's answer.
        error: ApiError,
    },
}

/// A mistake in a document: `snapshot-volumes.plans[1].keep.daily (line 7): …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where: keys and indices from the top; empty for the document as a whole.
    pub path: String,
    /// The line, from 1, where it is known.
    pub line: Option<u64>,
    /// What is wrong.
    pub problem: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{} ", self.path)?;
        }
        if let Some(line) = self.line {
            write!(f, "(line {line})")?;
        }
        if !self.path.is_empty() || self.line.is_some() {
            f.write_str(": ")?;
        }
        f.write_str(&self.problem)
    }
}

/// Reads `section` out of a document, or out of [`BUILT_IN`] when the document leaves it out.
pub fn parse<P: Section>(document: &str, section: &'static str) -> Result<P, Mistake> {
    let found = match parse_section(document, section)? {
        None => parse_section(BUILT_IN, section)?,
        found => found,
    };
    found.ok_or_else(|| Mistake {
        path: section.to_owned(),
        line: None,
        problem: "the built-in policy has no such section".to_owned(),
    })
}

fn parse_section<P: Section>(document: &str, section: &'static str) -> Result<Option<P>, Mistake> {
    let mut track = serde_path_to_error::Track::new();
    let parsed = serde_saphyr::with_deserializer_from_str(document, |deserializer| {
        let deserializer = serde_path_to_error::Deserializer::new(deserializer, &mut track);
        Document {
            section,
            policy: std::marker::PhantomData::<P>,
        }
        .deserialize(deserializer)
    });
    parsed.map_err(|error| {
        let path = track.path().to_string();
        // A key that can't be read has no name in the path.
        let path = path.trim_end_matches('?').trim_end_matches('.');
        Mistake::of(path, &error)
    })
}

impl Mistake {
    /// What the YAML parser says about `path`.
    #[must_use]
    pub fn of(path: &str, error: &serde_saphyr::Error) -> Self {
        let error = error.without_snippet();
        let line = error
            .location()
            .map(|at| at.line())
            .filter(|line| *line > 0);
        Self {
            path: path.to_owned(),
            line,
            problem: problem(error),
        }
    }
}

/// The parser's message without the position, which the path and line tell better, and without the
/// names of its own types and settings.
fn problem(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error;
    match error {
        Error::InvalidScalar { ty, .. } if ty.starts_with(['u', 'i']) => {
            return "expected a whole number, 0 or more".to_owned();
        }
        Error::InvalidScalar { ty: "boolean", .. } => return "expected true or false".to_owned(),
        Error::Unexpected { expected, .. } => {
            let expected = match *expected {
                "mapping start" => "a map of keys and values",
                "sequence start" => "a list",
                "string scalar" => "a text",
                other => other,
            };
            return format!("expected {expected}");
        }
        Error::ExternallyTaggedEnumExpectedScalarOrMapping { .. } => {
            return "expected one word".to_owned();
        }
        Error::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().unwrap_or("a key");
            return format!("{key} stands here for the second time");
        }
        Error::MultipleDocuments { .. } => {
            return "a second YAML document begins here, and a policy is one".to_owned();
        }
        _ => {}
    }
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    let without = match first.find(" at line ") {
        Some(at) if first[at..].contains(", column ") => &first[..at],
        _ => first,
    };
    match without.split_once(": ") {
        Some((position, rest)) if position.starts_with("line ") => rest.to_owned(),
        _ => without.to_owned(),
    }
}

/// A section that has something in it. An empty one is a section whose keys were all taken out:
/// was the built-in one meant to hold then, or the defaults of the keys? They differ.
struct Given<P>(P);

impl<'de, P: Section> Deserialize<'de> for Given<P> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::<P>::deserialize(deserializer)?
            .map(Self)
            .ok_or_else(|| {
                D::Error::custom(
                    "has nothing in it; leave the section out to keep the built-in one, or write {} for the defaults of its keys",
                )
            })
    }
}

/// The document as a map of known sections, of which one is read.
struct Document<P> {
    section: &'static str,
    policy: std::marker::PhantomData<P>,
}

impl<'de, P: Section> DeserializeSeed<'de> for Document<P> {
    type Value = Option<P>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<P>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, P: Section> serde::de::Visitor<'de> for Document<P> {
    type Value = Option<P>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a map with the sections {}", SECTIONS.join(", "))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Option<P>, E> {
        // An empty document: every section keeps its default.
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<P>, A::Error> {
        let mut policy = None;
        while let Some(key) = map.next_key::<String>()? {
            if key == self.section {
                policy = Some(map.next_value::<Given<P>>()?.0);
            } else if SECTIONS.contains(&key.as_str()) {
                map.next_value::<IgnoredAny>()?;
            } else {
                return Err(A::Error::unknown_field(&key, SECTIONS));
            }
        }
        Ok(policy)
    }
}

/// Reads the policy from its parameter, once a minute at most.
#[derive(Debug)]
pub struct Loader {
    ssm: Client,
    parameter: String,
    cached: Mutex<Option<Cached>>,
}

#[derive(Debug, Clone)]
struct Cached {
    at: Instant,
    document: Option<String>,
    origin: String,
}

impl Loader {
    /// A loader of `parameter`, a name or an ARN.
    #[must_use]
    pub fn new(ssm: Client, parameter: String) -> Self {
        Self {
            ssm,
            parameter,
            cached: Mutex::new(None),
        }
    }

    /// The `section` as it holds now.
    pub async fn load<P: Section>(
        &self,
        section: &'static str,
    ) -> Result<Effective<P>, PolicyError> {
        let cached = self.document().await?;
        let document = cached.document.as_deref().unwrap_or(BUILT_IN);
        let policy = parse(document, section).map_err(|mistake| PolicyError::Invalid {
            origin: cached.origin.clone(),
            mistake,
        })?;
        Ok(Effective {
            policy,
            origin: cached.origin,
        })
    }

    async fn document(&self) -> Result<Cached, PolicyError> {
        if let Ok(cached) = self.cached.lock()
            && let Some(cached) = cached.as_ref()
            && cached.at.elapsed() < CACHED_FOR
        {
            return Ok(cached.clone());
        }
        let answer = self
            .ssm
            .get_parameter()
            .name(&self.parameter)
            .with_decryption(true)
            .send()
            .await;
        let (document, origin) = match answer {
            Ok(answer) => {
                let parameter = answer
                    .parameter
                    .unwrap_or_else(|| aws_sdk_ssm::types::Parameter::builder().build());
                let origin = format!("version {} of {}", parameter.version, self.parameter);
                (Some(parameter.value.unwrap_or_default()), origin)
            }
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(GetParameterError::is_parameter_not_found) =>
            {
                (None, "built-in default".to_owned())
            }
            Err(error) => {
                return Err(PolicyError::Unreadable {
                    parameter: self.parameter.clone(),
                    error: ApiError::of("ssm:GetParameter", &error),
                });
            }
        };
        let read = Cached {
            at: Instant::now(),
            document,
            origin,
        };
        if let Ok(mut cached) = self.cached.lock() {
            *cached = Some(read.clone());
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_ssm::operation::get_parameter::GetParameterOutput;
    use aws_sdk_ssm::types::Parameter;
    use aws_sdk_ssm::types::error::ParameterNotFound;
    use aws_smithy_mocks::{RuleMode, mock, mock_client};

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case")]
    struct Plans {
        #[serde(default)]
        mode: Mode,
        plans: Vec<Plan>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case")]
    struct Plan {
        name: String,
        daily: u32,
    }

    /// A section that takes anything, so that the built-in document is read without knowing it.
    #[derive(Debug, PartialEq, Deserialize)]
    struct Any(serde_json::Value);

    impl Section for Any {
        fn mode(&self) -> Mode {
            Mode::Observe
        }
    }

    impl Section for Plans {
        fn mode(&self) -> Mode {
            self.mode
        }
    }

    fn read(document: &str) -> Result<Plans, Mistake> {
        parse(document, "snapshot-volumes")
    }

    #[test]
    fn reads_its_section_or_the_built_in_one() {
        let plans =
            read("snapshot-volumes:\n  mode: observe\n  plans:\n    - {name: a, daily: 3}\n");
        assert_eq!(plans.unwrap().plans[0].daily, 3);
        let built_in: Any = parse(BUILT_IN, "snapshot-volumes").unwrap();
        for document in ["", "# nothing but a comment\n", "{}"] {
            let any: Any = parse(document, "snapshot-volumes").unwrap();
            assert_eq!(any, built_in, "{document:?}");
        }
    }

    #[test]
    fn the_built_in_document_has_every_section() {
        for section in SECTIONS {
            assert!(parse::<Any>(BUILT_IN, section).is_ok(), "{section}");
        }
    }

    #[test]
    fn each_mistake_names_its_path_and_line() {
        for (document, expected) in [
            (
                "snapshot-volumes:\n  plans:\n    - {name: a, daily: 1}\n    - name: b\n      daily: seven\n",
                "snapshot-volumes.plans[1].daily (line 5): ",
            ),
            (
                "snapshot-volumes:\n  mode: sometimes\n",
                "snapshot-volumes.mode (line 2): ",
            ),
            (
                "snapshot-volumes:\n  plans:\n    - {name: a, dayly: 1}\n",
                "snapshot-volumes.plans[0].dayly (line 3): unknown field `dayly`",
            ),
            (
                "snapshot-volume: {}\n",
                "(line 1): unknown field `snapshot-volume`",
            ),
            (
                "snapshot-volumes:\n  plans:\n    - {name: a, daily: -1}\n",
                "daily (line 3): expected a whole number, 0 or more",
            ),
            (
                "snapshot-volumes:\n  plans: {}\n",
                "snapshot-volumes.plans (line 2): expected a list",
            ),
            (
                "snapshot-volumes: yes\n",
                "snapshot-volumes (line 1): expected a map of keys and values",
            ),
            (
                "snapshot-volumes:\n  mode: [observe]\n",
                "snapshot-volumes.mode (line 2): expected one word",
            ),
            (
                "snapshot-volumes: {plans: [{name: [], daily: 1}]}",
                "name (line 1): expected a text",
            ),
            (
                "snapshot-volumes:\n  # mode: observe\n",
                "snapshot-volumes (line 1): has nothing in it; leave the section out",
            ),
            (
                "snapshot-volumes:\n  mode: observe\n  mode: enforce\n",
                "snapshot-volumes (line 3): mode stands here for the second time",
            ),
            ("{}\n---\n{}\n", "(line 3): a second YAML document begins"),
            ("- a\n- b\n", "(line 1): "),
            ("snapshot-volumes: [\n", "(line "),
            (
                "snapshot-volumes: {plans: []}\nsnapshot-volumes: {plans: []}\n",
                "(line 2): ",
            ),
        ] {
            let mistake = read(document).unwrap_err().to_string();
            assert!(
                mistake.contains(expected) && !mistake.contains('\n'),
                "{document:?}\n gives {mistake:?}\n not   {expected:?}"
            );
        }
    }

    fn answer(value: &str) -> GetParameterOutput {
        GetParameterOutput::builder()
            .parameter(Parameter::builder().value(value).version(7).build())
            .build()
    }

    #[tokio::test(start_paused = true)]
    async fn no_parameter_means_the_default_and_a_minute_is_cached() {
        let missing = mock!(Client::get_parameter).then_error(|| {
            GetParameterError::ParameterNotFound(ParameterNotFound::builder().build())
        });
        let ssm = mock_client!(aws_sdk_ssm, RuleMode::MatchAny, [&missing]);
        let loader = Loader::new(ssm, "/p".to_owned());
        for _ in 0..3 {
            let effective: Effective<Any> = loader.load("snapshot-volumes").await.unwrap();
            assert_eq!(effective.origin, "built-in default");
        }
        assert_eq!(missing.num_calls(), 1);
        tokio::time::advance(CACHED_FOR).await;
        loader.load::<Any>("snapshot-volumes").await.unwrap();
        assert_eq!(missing.num_calls(), 2);
    }

    #[tokio::test]
    async fn a_bad_document_names_the_parameter_and_its_version() {
        let bad = mock!(Client::get_parameter).then_output(|| answer("snapshot-volumes: {x: 1}"));
        let ssm = mock_client!(aws_sdk_ssm, [&bad]);
        let error = Loader::new(ssm, "/p".to_owned())
            .load::<Plans>("snapshot-volumes")
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with(
                "policy (version 7 of /p): snapshot-volumes.x (line 1): unknown field"
            ),
            "{error}"
        );
    }

    #[tokio::test]
    async fn an_unreadable_parameter_is_not_taken_for_a_missing_one() {
        let denied = mock!(Client::get_parameter).then_error(|| {
            GetParameterError::generic(
                aws_sdk_ssm::error::ErrorMetadata::builder()
                    .code("AccessDeniedException")
                    .message("no")
                    .build(),
            )
        });
        let ssm = mock_client!(aws_sdk_ssm, [&denied]);
        let error = Loader::new(ssm, "/p".to_owned())
            .load::<Plans>("snapshot-volumes")
            .await
            .unwrap_err();
        assert!(matches!(error, PolicyError::Unreadable { .. }), "{error}");
    }
}
