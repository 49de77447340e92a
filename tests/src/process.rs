//! The local AWS as a process that ends with the test.

use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, parent_id};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Longest that start and deployment may take: many times what it takes on an idle machine.
const START_LIMIT: Duration = Duration::from_mins(5);
/// Names the folder for what the roles were used for; `make test` compares it with the template.
const USAGE: &str = "ROLE_USAGE";
/// How often a copy is asked for: the one that it is made of may be about to end.
const ATTEMPTS: usize = 3;

/// A copy of a local AWS to which the template was deployed once, by whichever test came first:
/// see tests/emulator/copies.py. It ends when its connection is closed.
#[derive(Debug)]
pub(crate) struct Emulator {
    connection: UnixStream,
    endpoint: String,
}

impl Emulator {
    /// One with the built template deployed with these `parameters`, nothing firing by the clock,
    /// and snapshots that stay pending until the test ends them.
    pub(crate) fn deployed(parameters: &[(&str, &str)]) -> Self {
        let original = Original::of_the_checkout();
        let mut request = json!({ "parameters": {} });
        for (name, value) in parameters {
            request["parameters"][name] = Value::from(*value);
        }
        if let Ok(folder) = std::env::var(USAGE) {
            request["record_usage"] = folder.into();
        }
        let asked = (0..ATTEMPTS).find_map(|_| original.copied(&request).ok());
        asked.expect("the local AWS gives a copy of itself; what it says stands above")
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.connection.shutdown(Shutdown::Both);
    }
}

/// The process that copies are made of.
struct Original {
    root: PathBuf,
    template: PathBuf,
    /// Its name tells what is deployed and what it runs on: after a change there is another one.
    socket: PathBuf,
}

impl Original {
    fn of_the_checkout() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("the package lies in the repository");
        existing(&root.join(".venv/bin/python"), "make .venv");
        let template = root.join(".aws-sam/local/template.yaml");
        existing(&template, "make build");
        let mut hasher = DefaultHasher::new();
        for part in [
            ".aws-sam/local",
            "samconfig.toml",
            "tests/emulator",
            ".venv/.stamp",
        ] {
            hash_state(&root.join(part), &mut hasher).expect("the checkout can be read");
        }
        let socket = root.join(format!(".local/emulator/{:016x}", hasher.finish()));
        Self {
            root: root.to_owned(),
            template,
            socket,
        }
    }

    fn copied(&self, request: &Value) -> io::Result<Emulator> {
        let mut connection = UnixStream::connect(&self.socket).or_else(|_| self.start())?;
        writeln!(connection, "{request}")?;
        let (send, ready) = mpsc::channel();
        let output = BufReader::new(connection.try_clone()?);
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                match line.strip_prefix("ready ") {
                    Some(endpoint) => drop(send.send(endpoint.to_owned())),
                    // For the test's own output.
                    None => eprintln!("{line}"),
                }
            }
        });
        let endpoint = ready.recv_timeout(START_LIMIT).map_err(io::Error::other)?;
        Ok(Emulator {
            connection,
            endpoint,
        })
    }

    /// Starts it, unless another test just did, and waits until the template is deployed. It outlives
    /// this test, and ends when whoever runs the tests does, or when nobody wants a copy any more.
    fn start(&self) -> io::Result<UnixStream> {
        let folder = self.socket.parent().expect("it lies in a folder");
        std::fs::create_dir_all(folder)?;
        let lock = File::create(folder.join("lock"))?;
        lock.lock()?;
        if let Ok(started) = UnixStream::connect(&self.socket) {
            return Ok(started);
        }
        let log = File::create(folder.join("log"))?;
        let mut original = Command::new(self.root.join(".venv/bin/python"))
            .args(["-m", "emulator", "--port", "0"])
            .args(["--set", "schedules_fire=false"])
            .args(["--set", "snapshot_pending_seconds=3600"])
            // Without a confirmed subscription nobody is notified.
            .args(["--set", "subscribers_confirm=true"])
            .args(["--parameter", "NotificationEmail=ops@example.com"])
            .args(["--while", &parent_id().to_string()])
            .arg("--copies")
            .arg(&self.socket)
            .arg("--deploy")
            .arg(&self.template)
            .env("PYTHONPATH", self.root.join("tests"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        let until = Instant::now() + START_LIMIT;
        loop {
            if let Ok(started) = UnixStream::connect(&self.socket) {
                return Ok(started);
            }
            let ended = original.try_wait()?;
            if ended.is_some() || Instant::now() > until {
                let _ = original.kill();
                let said = std::fs::read_to_string(folder.join("log"))?;
                panic!("the local AWS doesn't get as far as to be deployed: {ended:?}\n{said}");
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn existing(path: &Path, made_by: &str) {
    assert!(
        path.exists(),
        "{} is missing: run `{made_by}`",
        path.display()
    );
}

/// Names, sizes and times of all files below `path`.
fn hash_state(path: &Path, hasher: &mut DefaultHasher) -> io::Result<()> {
    let found = path.metadata()?;
    if found.is_dir() {
        let entries = path.read_dir()?.collect::<io::Result<Vec<_>>>()?;
        let mut paths: Vec<_> = entries.iter().map(std::fs::DirEntry::path).collect();
        paths.sort();
        return paths.iter().try_for_each(|path| hash_state(path, hasher));
    }
    (path, found.len(), found.modified()?).hash(hasher);
    Ok(())
}
