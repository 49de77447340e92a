//! The policy document as a whole: checks one with the code of the functions, says what holds with
//! all defaults filled in, and makes the JSON Schema.
//!
//! A function reads its own section only; here is the one place that knows them all. A new
//! guardrail adds its section to [`Document`] and to [`check`].

pub mod tables;

use std::collections::BTreeMap;

use guardrails::policy::{self, Lines, Mistake, Remark, SECTIONS, Section};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde::Serialize;
use serde_json::Value;

/// Most characters that an SSM parameter holds: 8 KB, of the advanced tier. Whether AWS counts
/// bytes or characters, more than this is too much.
const ADVANCED_MAX: usize = 8_192;
/// Most bytes that a parameter of the standard tier surely holds.
const STANDARD_MAX: usize = 4_096;

/// All sections.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(
    title = "ec2-guardrails policy",
    description = "The policy document of ec2-guardrails: one section per guardrail. A section left out keeps its built-in default.",
    transform = optional
)]
pub struct Document {
    /// Snapshots EBS volumes on schedule and prunes the snapshots it made.
    pub snapshot_volumes: snapshot_volumes::policy::Policy,
    /// Attaches the SSM instance profile to instances without one and finds out why a node isn't
    /// Online.
    pub attach_ssm_role: attach_ssm_role::policy::Policy,
    /// Stops Auto Scaling instance refreshes that fail.
    pub cancel_refresh: cancel_refresh::policy::Policy,
    /// Isolates instances that are launched from AMIs that aren't approved.
    pub quarantine_launch: quarantine_launch::policy::Policy,
}

/// Each section may be left out.
fn optional(schema: &mut Schema) {
    schema.remove("required");
}

/// A document without mistakes.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// What holds, with all defaults filled in.
    pub effective: Document,
    /// The sections that the document leaves out, so that the built-in ones hold.
    pub built_in: Vec<&'static str>,
    /// What is hardly meant. The functions' reports carry the same.
    pub warnings: Vec<At>,
    /// What the document takes beside itself.
    pub notes: Vec<At>,
}

/// A remark and where it belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At {
    /// The line, from 1; none for what the document doesn't say itself.
    pub line: Option<u64>,
    /// What there is to say.
    pub remark: Remark,
}

/// Checks every section of `document`.
pub fn check(document: &str) -> Result<Checked, Vec<Mistake>> {
    let mut reading = Reading::of(document);
    let snapshot_volumes = reading.section(snapshot_volumes::NAME);
    let attach_ssm_role = reading.section(attach_ssm_role::NAME);
    let cancel_refresh = reading.section(cancel_refresh::NAME);
    let quarantine_launch = reading.section(quarantine_launch::NAME);
    let (
        [],
        Some(snapshot_volumes),
        Some(attach_ssm_role),
        Some(cancel_refresh),
        Some(quarantine_launch),
    ) = (
        reading.mistakes.as_slice(),
        snapshot_volumes,
        attach_ssm_role,
        cancel_refresh,
        quarantine_launch,
    )
    else {
        return Err(reading.mistakes());
    };
    let mut checked = Checked {
        effective: Document {
            snapshot_volumes,
            attach_ssm_role,
            cancel_refresh,
            quarantine_launch,
        },
        built_in: SECTIONS.to_vec(),
        warnings: reading.warnings,
        notes: reading.notes,
    };
    checked.built_in.retain(|name| !reading.lines.has(name));
    Ok(checked)
}

/// What has been read so far.
struct Reading<'a> {
    document: &'a str,
    lines: Lines,
    /// Why there are no lines.
    unreadable: Option<Mistake>,
    /// How many sections could be read.
    sections: usize,
    mistakes: Vec<Mistake>,
    warnings: Vec<At>,
    notes: Vec<At>,
}

impl<'a> Reading<'a> {
    fn of(document: &'a str) -> Self {
        let (lines, unreadable) = match Lines::of(document) {
            Ok(lines) => (lines, None),
            Err(mistake) => (Lines::default(), Some(mistake)),
        };
        let mut reading = Self {
            document,
            lines,
            unreadable,
            sections: 0,
            mistakes: Vec::new(),
            warnings: Vec::new(),
            notes: Vec::new(),
        };
        reading.fits();
        reading
    }

    /// Whether SSM takes the document as a parameter's value.
    fn fits(&mut self) {
        let characters = self.document.chars().count();
        let mistake = |line, problem| Mistake {
            path: String::new(),
            line,
            problem,
        };
        if characters > ADVANCED_MAX {
            self.mistakes.push(mistake(
                None,
                format!(
                    "the document has {characters} characters, and an SSM parameter holds {ADVANCED_MAX} at most; leave out comments and what the built-in policy says anyway"
                ),
            ));
        } else if self.document.len() > STANDARD_MAX {
            self.notes.push(At {
                line: None,
                remark: Remark::new(
                    "",
                    format!(
                        "the document has {} bytes, more than the {STANDARD_MAX} that a standard parameter holds: put it with --tier Intelligent-Tiering (an advanced parameter has a price)",
                        self.document.len()
                    ),
                ),
            });
        }
        for (line, text) in (1..).zip(self.document.lines()) {
            if let Some((_, rest)) = text.split_once("{{")
                && rest.contains("}}")
            {
                self.mistakes.push(mistake(
                    Some(line),
                    "SSM refuses a parameter with {{ }} in it, in a comment too; put a space between the braces".to_owned(),
                ));
            }
        }
    }

    fn section<P: Section>(&mut self, name: &'static str) -> Option<P> {
        match policy::parse::<P>(self.document, name) {
            Ok(section) => {
                self.sections += 1;
                let place = |remark: Remark| At {
                    line: self.lines.line(&remark.path),
                    remark,
                };
                let warnings = policy::warnings(&section, name);
                self.warnings.extend(warnings.into_iter().map(place));
                let notes = policy::requirements(&section, name);
                self.notes.extend(notes.into_iter().map(place));
                Some(section)
            }
            Err(mistakes) => {
                self.mistakes.extend(mistakes.0);
                None
            }
        }
    }

    /// By line, each once: a mistake in the document's form is found with every section.
    fn mistakes(self) -> Vec<Mistake> {
        let mut mistakes = self.mistakes;
        // Whoever reads it stops somewhere else; the place where it stops being YAML says most.
        if let Some(unreadable) = self.unreadable
            && self.sections == 0
        {
            mistakes = vec![unreadable];
        }
        mistakes.sort_by(|a, b| (a.line, &a.path).cmp(&(b.line, &b.path)));
        mistakes.dedup();
        mistakes
    }
}

/// A whole document as YAML: a document itself, which says the same.
pub fn yaml(document: &Document) -> Result<String, serde_saphyr::SerializeError> {
    let options = serde_saphyr::ser_options! {
        compact_list_indent: false,
        // Long texts in one line: what is folded may be read as something else.
        prefer_block_scalars: false,
    };
    serde_saphyr::to_string_with_options(document, options)
}

/// The JSON Schema of documents, for editors: draft 7, which all of them know. Ends in a line
/// break.
pub fn schema() -> Result<String, serde_json::Error> {
    let generator = SchemaSettings::draft07().into_generator();
    let schema = generator.into_root_schema_for::<Document>().to_value();
    Ok(serde_json::to_string_pretty(&tidy(schema))? + "\n")
}

/// A key that may be left out must still say something where it is written, so nothing may be null.
/// With the keys in order: otherwise it would depend on whether any crate of the build asks
/// `serde_json` to preserve theirs. And with descriptions in one line each, as editors show them.
fn tidy(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields: BTreeMap<String, Value> = fields.into_iter().collect();
            let fields = fields.into_iter().map(|(key, value)| match value {
                Value::String(text) if key == "description" => {
                    (key, Value::String(text.replace('\n', " ")))
                }
                Value::Array(mut types) if key == "type" => {
                    types.retain(|name| name != "null");
                    let one = (types.len() == 1).then(|| types.remove(0));
                    (key, one.unwrap_or(Value::Array(types)))
                }
                value => (key, tidy(value)),
            });
            Value::Object(fields.collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(tidy).collect()),
        other => other,
    }
}
