//! `policy-check`: checks a policy document before it is put into the account.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use guardrails::policy::{Mistake, SECTIONS};
use policy_check::{At, Checked, check, schema, yaml};

/// The document has mistakes, or warnings with `--strict`.
const WRONG: u8 = 1;
/// There is nothing to check. clap ends with the same for a wrong command line.
const UNUSABLE: u8 = 2;

/// Checks a policy document of ec2-guardrails with the code of the functions.
///
/// Prints what would hold, with all defaults filled in; and to the standard error mistakes,
/// warnings and notes, each with file, line, kind and place before its text.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit status: 0 valid, 1 mistakes (with --strict also warnings), 2 nothing to check."
)]
struct Arguments {
    /// The document; - for the standard input
    #[arg(required_unless_present = "schema")]
    file: Option<PathBuf>,

    /// Let warnings fail too
    #[arg(long)]
    strict: bool,

    /// Print the JSON Schema of documents, for editors, and check nothing
    #[arg(long, conflicts_with_all = ["file", "strict"])]
    schema: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(code) => code,
        Err(problem) => {
            complain(&problem);
            ExitCode::from(UNUSABLE)
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    let Some(file) = &arguments.file else {
        let schema = schema().map_err(|error| format!("the schema can't be written: {error}"))?;
        print(&schema)?;
        return Ok(ExitCode::SUCCESS);
    };
    let (name, document) = read(file)?;
    match check(&document) {
        Ok(checked) => {
            let yaml = yaml(&checked.effective)
                .map_err(|error| format!("the effective policy can't be written: {error}"))?;
            let outlook = checked.effective.snapshot_volumes.outlook();
            print(&(heading(&name, &checked.built_in, &outlook) + &yaml))?;
            remark(&name, &checked);
            let failed = arguments.strict && !checked.warnings.is_empty();
            Ok(ExitCode::from(if failed { WRONG } else { 0 }))
        }
        Err(mistakes) => {
            for mistake in &mistakes {
                say(
                    &name,
                    mistake.line,
                    "error",
                    &mistake.path,
                    &mistake.problem,
                );
            }
            complain(&format!(
                "{name}: {}. With this document {} would do nothing at all; correct it and check again",
                count(mistakes.len(), "mistake"),
                stopped(&mistakes).join(", ")
            ));
            Ok(ExitCode::from(WRONG))
        }
    }
}

/// The document, and how messages call it.
fn read(file: &Path) -> Result<(String, String), String> {
    if file == Path::new("-") {
        let mut document = String::new();
        io::stdin()
            .read_to_string(&mut document)
            .map_err(|error| format!("the standard input can't be read: {error}"))?;
        return Ok(("<stdin>".to_owned(), document));
    }
    let name = file.display().to_string();
    match fs::read_to_string(file) {
        Ok(document) => Ok((name, document)),
        Err(error) => Err(format!(
            "{name}: can't be read: {error}; give the path of a policy document, or - for the standard input"
        )),
    }
}

fn heading(name: &str, built_in: &[&str], outlook: &[String]) -> String {
    let mut heading = format!("# What holds with {name}, all defaults filled in.\n");
    if !built_in.is_empty() {
        let _ = writeln!(
            heading,
            "# Not in the document, so the built-in policy holds: {}.",
            built_in.join(", ")
        );
    }
    for slots in outlook {
        let _ = writeln!(heading, "# Next slots of {slots}.");
    }
    heading
}

fn remark(name: &str, checked: &Checked) {
    for (kind, remarks) in [("warning", &checked.warnings), ("note", &checked.notes)] {
        for At { line, remark } in remarks {
            say(name, *line, kind, &remark.path, &remark.text);
        }
    }
    let mut sum = format!("{name}: valid");
    for (kind, number) in [
        ("warning", checked.warnings.len()),
        ("note", checked.notes.len()),
    ] {
        if number > 0 {
            let _ = write!(sum, ", {}", count(number, kind));
        }
    }
    complain(&sum);
}

/// The guardrails that stop. A mistake inside a section stops that one only.
fn stopped(mistakes: &[Mistake]) -> Vec<&'static str> {
    let section = |mistake: &Mistake| {
        let first = mistake.path.split(['.', '[']).next().unwrap_or_default();
        SECTIONS.iter().find(|section| **section == first)
    };
    let all = mistakes.iter().any(|mistake| section(mistake).is_none());
    SECTIONS
        .iter()
        .copied()
        .filter(|name| all || mistakes.iter().any(|m| section(m) == Some(name)))
        .collect()
}

/// A mistake or a remark, with file, line, kind and place before its text.
fn say(name: &str, line: Option<u64>, kind: &str, path: &str, text: &str) {
    let line = line.map_or_else(String::new, |line| format!(":{line}"));
    let colon = if path.is_empty() { "" } else { ": " };
    complain(&format!("{name}{line}: {kind}: {path}{colon}{text}"));
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// To the standard output. Whoever closes it early wants no more.
fn print(text: &str) -> Result<(), String> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("the standard output can't be written: {error}"))
        }
        _ => Ok(()),
    }
}

/// To the standard error; where that is closed, the exit status still tells.
fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
