//! `docs`: writes the tables of conditions into the documents that are named (`make docs`).

use std::process::ExitCode;
use std::{env, fs};

use policy_check::tables::rewritten;

#[expect(clippy::print_stderr, reason = "a tool says what it couldn't do")]
fn main() -> ExitCode {
    for path in env::args().skip(1) {
        let written = fs::read_to_string(&path)
            .map_err(|error| error.to_string())
            .and_then(|document| rewritten(&document))
            .and_then(|document| fs::write(&path, document).map_err(|error| error.to_string()));
        if let Err(error) = written {
            eprintln!("{path}: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
