//! The policy: one YAML document for the account, in an SSM parameter.
//!
//! Parsing is strict: an unknown key, a bad schedule, an impossible value or a key with nothing
//! behind it is an error that names its path and line, and then nothing is done at all. A function
//! reads its own section; a mistake inside another's section stops only that one, a mistake in the
//! document's form stops all.

mod mistake;
mod reading;
mod tree;
mod values;

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_ssm::Client;
use aws_sdk_ssm::operation::get_parameter::GetParameterError;
use jiff::Timestamp;
use lambda_runtime::tracing;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::aws::{ApiError, ErrorKind};
use crate::state::{Expect, State, Topic};
use tree::{Content, Node};

pub use mistake::{Mistake, Mistakes};
pub use tree::Lines;
pub use values::{Age, Exempt, SPAN_PATTERN, TagMatch, has_minutes, keeping_span, positive_span};

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
const CACHED_FOR: Duration = Duration::from_mins(1);

const GET_PARAMETER: &str = "ssm:GetParameter";

/// How far a guardrail goes: each mode does what the one before it does, and more.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Look, and write into report and log what would be done; change nothing, notify nobody.
    Observe,
    /// Notify people too; change nothing.
    Notify,
    /// Act too.
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
    below(policy.warnings(), section)
}

/// What `section` takes of the stack.
pub fn requirements(policy: &impl Section, section: &str) -> Vec<Remark> {
    below(policy.requirements(), section)
}

fn below(mut remarks: Vec<Remark>, section: &str) -> Vec<Remark> {
    for remark in &mut remarks {
        remark.path = format!("{section}.{}", remark.path);
    }
    remarks
}

/// A section as it holds now, and where it came from.
#[derive(Debug)]
pub(crate) struct Effective<P> {
    pub(crate) policy: P,
    /// `version 3 of /ec2-guardrails/policy` or `built-in default`.
    pub(crate) origin: String,
}

/// Why there is no policy. Nothing has been done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PolicyError {
    #[error("policy ({origin}): {mistakes}; nothing was done. Correct it and put it again")]
    Invalid { origin: String, mistakes: Mistakes },
    /// The parameter can't be read, so nobody knows what holds: neither that there is none nor that
    /// it is wrong.
    #[error("policy parameter {parameter} can't be read, nothing was done: {error}")]
    Unreadable { parameter: String, error: ApiError },
    /// There was a policy, and now there is none. That is somebody's mistake, or an attack: what he
    /// had forbidden isn't allowed by that, nor what he wanted forgotten.
    #[error(
        "policy parameter {parameter} is gone: there was a policy before, so the built-in one isn't taken for it, and nothing was done. Put it again; to go back to the built-in policy put the document {{}}"
    )]
    Gone { parameter: String },
}

impl PolicyError {
    /// Whether the document is what is wrong, and not its reading.
    pub(crate) fn is_mistake(&self) -> bool {
        !matches!(self, Self::Unreadable { .. })
    }
}

/// Reads `section` out of a document, or out of [`BUILT_IN`] when the document leaves it out.
pub fn parse<P: Section>(document: &str, section: &'static str) -> Result<P, Mistakes> {
    let found = match tree::section(document, section, SECTIONS)? {
        None => tree::section(BUILT_IN, section, SECTIONS)?,
        found => found,
    };
    let mistake = |line, problem: &str| Mistake {
        path: section.to_owned(),
        line,
        problem: problem.to_owned(),
    };
    match found {
        None => Err(mistake(None, "the built-in policy has no such section").into()),
        // An empty one is a section whose keys were all taken out: was the built-in one meant to
        // hold then, or the defaults of the keys? They differ.
        Some(Node {
            content: Content::Nothing,
            key_line,
            ..
        }) => Err(mistake(
            key_line,
            "has nothing in it; leave the section out to keep the built-in one, or write {} for the defaults of its keys",
        )
        .into()),
        Some(node) => reading::read(node).map_err(Mistakes),
    }
}

/// Reads the policy from its parameter, once a minute at most.
#[derive(Debug)]
pub(crate) struct Loader {
    ssm: Client,
    parameter: String,
    state: State,
    cached: Mutex<Option<Cached>>,
    /// Whether it is remembered that there is a policy.
    remembered: AtomicBool,
}

/// That there was a policy once; the one name is [`ANY`].
const POLICY: Topic<Seen> = Topic::new("policy");
const ANY: &str = "any";

/// Where a policy was seen first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    parameter: String,
}

#[derive(Debug, Clone)]
struct Cached {
    at: Instant,
    document: Option<String>,
    origin: String,
}

impl Loader {
    /// A loader of `parameter`, a name or an ARN.
    pub(crate) fn new(ssm: Client, parameter: String, state: State) -> Self {
        Self {
            ssm,
            parameter,
            state,
            cached: Mutex::new(None),
            remembered: AtomicBool::new(false),
        }
    }

    /// The `section` as it holds now.
    pub(crate) async fn load<P: Section>(
        &self,
        section: &'static str,
    ) -> Result<Effective<P>, PolicyError> {
        let cached = self.document().await?;
        let document = cached.document.as_deref().unwrap_or(BUILT_IN);
        let policy = parse(document, section).map_err(|mistakes| PolicyError::Invalid {
            origin: cached.origin.clone(),
            mistakes,
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
        let unreadable = |error| PolicyError::Unreadable {
            parameter: self.parameter.clone(),
            error,
        };
        let (document, origin) = match answer {
            Ok(answer) => {
                let parameter = answer.parameter;
                let version = parameter.as_ref().map_or(0, |parameter| parameter.version);
                // What has no text says nothing of what holds. A document may be empty, but for a
                // comment: then somebody wrote that.
                let document = parameter
                    .and_then(|parameter| parameter.value)
                    .filter(|value| !value.trim().is_empty())
                    .ok_or_else(|| {
                        unreadable(ApiError::new(
                            GET_PARAMETER,
                            "NoValue",
                            "the answer has no document in it; put the policy again, or put {} to have the built-in one",
                            ErrorKind::Refused,
                        ))
                    })?;
                self.remember().await;
                let origin = format!("version {version} of {}", self.parameter);
                (Some(document), origin)
            }
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(GetParameterError::is_parameter_not_found) =>
            {
                let before = self.state.get(&POLICY, ANY, Timestamp::now()).await;
                if before.map_err(unreadable)?.is_some() {
                    return Err(PolicyError::Gone {
                        parameter: self.parameter.clone(),
                    });
                }
                (None, "built-in default".to_owned())
            }
            Err(error) => return Err(unreadable(ApiError::of(GET_PARAMETER, &error))),
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

    /// Remembers that there is a policy, once per process. Where that fails the next reading tries
    /// again: this one has its policy.
    async fn remember(&self) {
        if self.remembered.load(Ordering::Relaxed) {
            return;
        }
        let seen = Seen {
            parameter: self.parameter.clone(),
        };
        let now = Timestamp::now();
        let written = self
            .state
            .put(&POLICY, ANY, &seen, None, &Expect::Absent, now)
            .await;
        match written {
            Ok(_) => self.remembered.store(true, Ordering::Relaxed),
            Err(error) => tracing::warn!("that there is a policy couldn't be remembered: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::state::model::Model;
    use aws_sdk_ssm::operation::get_parameter::GetParameterOutput;
    use aws_sdk_ssm::types::Parameter;
    use aws_sdk_ssm::types::error::ParameterNotFound;
    use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};

    const SECTION: &str = "snapshot-volumes";

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

    fn read(document: &str) -> Result<Plans, Mistakes> {
        parse(document, SECTION)
    }

    /// What is said about a document with mistakes in it.
    fn told(document: &str) -> String {
        read(document).unwrap_err().to_string()
    }

    #[test]
    fn reads_its_section_or_the_built_in_one() {
        let plans =
            read("snapshot-volumes:\n  mode: observe\n  plans:\n    - {name: a, daily: 3}\n");
        assert_eq!(plans.unwrap().plans[0].daily, 3);
        let built_in: Any = parse(BUILT_IN, SECTION).unwrap();
        for document in ["", "# nothing but a comment\n", "{}"] {
            let any: Any = parse(document, SECTION).unwrap();
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
                "snapshot-volumes.plans[0].dayly (line 3): unknown key `dayly`; expected one of `name`, `daily`",
            ),
            (
                "snapshot-volume: {}\n",
                "(line 1): unknown section `snapshot-volume`; expected snapshot-volumes, attach",
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
            let mistake = told(document);
            assert!(
                mistake.contains(expected) && !mistake.contains('\n'),
                "{document:?}\n gives {mistake:?}\n not   {expected:?}"
            );
        }
    }

    /// The line where each stands, whatever else is wrong; and not what is wrong for that alone.
    #[test]
    fn all_mistakes_of_a_section_are_told_at_once() {
        let mistakes = read(
            "snapshot-volumes:
  mode: sometimes
  plan: 1
  plans:
    - name: [a]
      daily: 1
    - name: b
      daily: seven
    - {name: c, daily:}
    -
    - {name: d}
    - {name: e, daily: 5}
    - 7
",
        )
        .unwrap_err();
        let told: Vec<String> = mistakes.0.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "snapshot-volumes.mode (line 2): `sometimes` isn't known here; expected one of `observe`, `notify`, `enforce`",
                "snapshot-volumes.plan (line 3): unknown key `plan`; expected one of `mode`, `plans`",
                "snapshot-volumes.plans[0].name (line 5): expected a text",
                "snapshot-volumes.plans[1].daily (line 8): expected a whole number, 0 or more",
                "snapshot-volumes.plans[2].daily (line 9): has nothing behind its colon; write its value, or leave the key out",
                "snapshot-volumes.plans[3] (line 10): is an item with nothing in it; write its value, or take the item out",
                "snapshot-volumes.plans[4] (line 11): `daily` is missing",
                "snapshot-volumes.plans[6] (line 13): expected a map of keys and values",
            ]
        );
        let text = mistakes.to_string();
        assert!(
            text.starts_with("8 mistakes: snapshot-volumes.mode (line 2): "),
            "{text}"
        );
        assert!(!text.contains('\n'), "{text}");
    }

    #[test]
    fn a_key_without_a_value_is_a_mistake_whatever_it_is_for() {
        for (body, place) in [
            ("mode:\n  plans: []\n", "mode (line 2)"),
            ("mode: # enforce\n  plans: []\n", "mode (line 2)"),
            ("mode: ~\n  plans: []\n", "mode (line 2)"),
            ("mode: null\n  plans: []\n", "mode (line 2)"),
            ("plans: []\n  mode:", "mode (line 3)"),
            ("plans:\n    # - {name: a, daily: 1}\n", "plans (line 2)"),
        ] {
            let text = told(&format!("snapshot-volumes:\n  {body}"));
            let expected = format!("snapshot-volumes.{place}: has nothing behind its colon");
            assert!(text.starts_with(&expected), "{body:?}: {text}");
        }
        assert!(read("snapshot-volumes: {plans: [{name: a, daily: 1}, ]}").is_ok());
        let text = told("snapshot-volumes: {plans: [{name: a, daily: 1}, null]}");
        let expected = "snapshot-volumes.plans[1] (line 1): is an item with nothing in it";
        assert!(text.starts_with(expected), "{text}");
        let text = told("snapshot-volumes: {mode: '', plans: []}");
        assert!(
            text.contains("`` isn't known here"),
            "a text in quotes is one: {text}"
        );
    }

    #[test]
    fn aliases_and_merges_are_read_and_bombs_are_not() {
        let plans = read(
            "snapshot-volumes:\n  plans:\n    - &a {name: a, daily: 3}\n    - *a\n    - {<<: *a, name: c}\n",
        )
        .unwrap();
        let names: Vec<_> = plans
            .plans
            .iter()
            .map(|plan| (plan.name.as_str(), plan.daily))
            .collect();
        assert_eq!(names, [("a", 3), ("a", 3), ("c", 3)]);
        let mut bomb = "snapshot-volumes:\n  a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n".to_owned();
        for level in 1..9 {
            let below = format!("*a{}", level - 1);
            let ten = [below.as_str(); 10].join(", ");
            let _ = writeln!(bomb, "  a{level}: &a{level} [{ten}]");
        }
        let text = told(&bomb);
        assert!(
            text.contains("is too long, nested too deeply, or repeats itself"),
            "{text}"
        );
        let deep = format!("snapshot-volumes: {}{}", "[".repeat(100), "]".repeat(100));
        let text = told(&deep);
        assert!(text.contains("nested too deeply"), "{text}");
    }

    #[test]
    fn a_mistake_does_not_echo_the_document() {
        let long = "x".repeat(1_000_000);
        for document in [
            format!("snapshot-volumes: {{mode: {long}, plans: []}}"),
            format!("snapshot-volumes: {{{long}: 1, plans: []}}"),
            format!("snapshot-volumes: {{plans: [{{{long}: 1}}]}}"),
            format!("snapshot-volumes: {long}"),
            format!("{long}: 1"),
            long.clone(),
            format!("[{long}"),
            format!("snapshot-volumes: *{long}"),
            format!("snapshot-volumes: {{plans: [{}]}}", "1, ".repeat(5_000)),
        ] {
            let error = PolicyError::Invalid {
                origin: "version 1 of /p".to_owned(),
                mistakes: read(&document).unwrap_err(),
            };
            let text = error.to_string();
            assert!(text.len() < 2_000, "{}: {}", text.len(), &text[..500]);
        }
    }

    fn answer(value: &str) -> GetParameterOutput {
        GetParameterOutput::builder()
            .parameter(Parameter::builder().value(value).version(7).build())
            .build()
    }

    fn missing() -> Rule {
        mock!(Client::get_parameter).then_error(|| {
            GetParameterError::ParameterNotFound(ParameterNotFound::builder().build())
        })
    }

    fn loader(rule: &Rule, model: &Model) -> Loader {
        let ssm = mock_client!(aws_sdk_ssm, RuleMode::MatchAny, [rule]);
        Loader::new(ssm, "/p".to_owned(), model.state(SECTION))
    }

    async fn refused<P: Section + fmt::Debug>(loader: &Loader) -> PolicyError {
        loader.load::<P>(SECTION).await.unwrap_err()
    }

    #[tokio::test(start_paused = true)]
    async fn no_parameter_means_the_default_and_a_minute_is_cached() {
        let missing = missing();
        let loader = loader(&missing, &Model::default());
        for _ in 0..3 {
            let effective: Effective<Any> = loader.load(SECTION).await.unwrap();
            assert_eq!(effective.origin, "built-in default");
        }
        assert_eq!(missing.num_calls(), 1);
        tokio::time::advance(CACHED_FOR).await;
        loader.load::<Any>(SECTION).await.unwrap();
        assert_eq!(missing.num_calls(), 2);
    }

    #[tokio::test]
    async fn a_bad_document_names_the_parameter_and_its_version() {
        let bad = mock!(Client::get_parameter).then_output(|| answer("snapshot-volumes: {x: 1}"));
        let loader = loader(&bad, &Model::default());
        let error = refused::<Plans>(&loader).await.to_string();
        assert!(
            error.starts_with(
                "policy (version 7 of /p): 2 mistakes: snapshot-volumes.x (line 1): unknown key `x`; expected one of `mode`, `plans` | snapshot-volumes (line 1): `plans` is missing; nothing was done."
            ),
            "{error}"
        );
    }

    /// It was taken for "no policy" once, and then the built-in one acts.
    #[tokio::test]
    async fn an_answer_without_a_document_is_not_taken_for_a_missing_parameter() {
        for empty in [
            GetParameterOutput::builder().build(),
            GetParameterOutput::builder()
                .parameter(Parameter::builder().version(7).build())
                .build(),
            answer(""),
            answer(" \n"),
        ] {
            let rule = mock!(Client::get_parameter).then_output(move || empty.clone());
            let loader = loader(&rule, &Model::default());
            for _ in 0..2 {
                let error = refused::<Any>(&loader).await;
                assert!(
                    matches!(&error, PolicyError::Unreadable { error, .. } if error.code == "NoValue"),
                    "{error}"
                );
            }
            assert_eq!(rule.num_calls(), 2, "it isn't remembered");
        }
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
        let error = refused::<Plans>(&loader(&denied, &Model::default())).await;
        assert!(matches!(error, PolicyError::Unreadable { .. }), "{error}");
    }

    /// Somebody who may delete the parameter doesn't get the built-in policy by that.
    #[tokio::test(start_paused = true)]
    async fn a_policy_that_is_gone_is_a_mistake_and_no_built_in_one() {
        let model = Model::default();
        let missing = loader(&missing(), &model);
        let there = mock!(Client::get_parameter).then_output(|| answer("{}"));
        missing.load::<Any>(SECTION).await.unwrap();
        let put = loader(&there, &model);
        for _ in 0..3 {
            put.load::<Any>(SECTION).await.unwrap();
            tokio::time::advance(CACHED_FOR).await;
        }
        let writes = model
            .calls()
            .into_iter()
            .filter(|call| call.starts_with("PutItem"));
        assert_eq!(writes.count(), 1, "once a process");
        let error = refused::<Any>(&missing).await;
        assert!(matches!(error, PolicyError::Gone { .. }), "{error}");
        assert!(error.is_mistake() && error.to_string().ends_with("put the document {}"));
        // Nor does somebody who takes the table away.
        model.deny(Some("GetItem"));
        let error = refused::<Any>(&missing).await;
        assert!(matches!(error, PolicyError::Unreadable { .. }), "{error}");
    }
}
