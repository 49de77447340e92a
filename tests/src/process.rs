//! The local AWS as a child process that ends with the test.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Longest that start and deployment may take; a few seconds on an idle machine.
const START_LIMIT: Duration = Duration::from_secs(90);
/// Names the folder for what the roles were used for; `make test` compares it with the template.
const USAGE: &str = "ROLE_USAGE";
/// How long it may take to end on its own accord.
const STOP_LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Emulator {
    child: Child,
    endpoint: String,
}

impl Emulator {
    /// Starts one with the built template deployed with these `parameters`, nothing firing by the
    /// clock, and snapshots that stay pending until the test ends them.
    pub(crate) fn deployed(parameters: &[(&str, &str)]) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("the package lies in the repository");
        let python = existing(root.join(".venv/bin/python"), "make .venv");
        let template = existing(root.join(".aws-sam/local/template.yaml"), "make build");
        let record = std::env::var_os(USAGE);
        let mut child = Command::new(python)
            .args(["-m", "emulator", "--port", "0", "--die-with-parent"])
            .args(["--set", "schedules_fire=false"])
            .args(["--set", "snapshot_pending_seconds=3600"])
            .args(
                record
                    .iter()
                    .flat_map(|folder| [OsStr::new("--record-usage"), folder]),
            )
            .args(
                parameters
                    .iter()
                    .map(|(k, v)| format!("--parameter={k}={v}")),
            )
            .arg("--deploy")
            .arg(template)
            .env("PYTHONPATH", root.join("tests"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the local AWS can be started");
        let (send, ready) = mpsc::channel();
        let output = child.stdout.take().expect("its output is a pipe");
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some(endpoint) = line.strip_prefix("ready ") {
                    let _ = send.send(endpoint.to_owned());
                }
            }
        });
        // Its own error is on the test's standard error output.
        let mut emulator = Self {
            child,
            endpoint: String::new(),
        };
        emulator.endpoint = ready
            .recv_timeout(START_LIMIT)
            .expect("the local AWS starts and deploys the template; its error stands above");
        emulator
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

fn existing(path: PathBuf, made_by: &str) -> PathBuf {
    assert!(
        path.exists(),
        "{} is missing: run `{made_by}`",
        path.display()
    );
    path
}

impl Drop for Emulator {
    /// First asks, so that it removes its temporary files.
    fn drop(&mut self) {
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let until = Instant::now() + STOP_LIMIT;
        while Instant::now() < until {
            if let Ok(Some(_)) = self.child.try_wait() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
