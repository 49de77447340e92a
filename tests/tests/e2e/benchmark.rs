//! The benchmark itself: each of its runs on a small estate, so that it can't rot.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

#[test]
fn every_run_of_the_benchmark_passes_its_check() {
    // The debug functions of `make build`, in the folders that `sam build` makes.
    let local = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.aws-sam/local/functions");
    let build = Path::new(env!("CARGO_TARGET_TMPDIR")).join("benchmark");
    for (function, id) in [
        ("snapshot-volumes", "SnapshotVolumesFunction"),
        ("attach-ssm-role", "AttachSsmRoleFunction"),
        ("cancel-refresh", "CancelRefreshFunction"),
        ("quarantine-launch", "QuarantineLaunchFunction"),
    ] {
        let bootstrap = build.join(id).join("bootstrap");
        fs::create_dir_all(build.join(id)).unwrap();
        let _ = fs::remove_file(&bootstrap);
        symlink(local.join(function).join("bootstrap"), &bootstrap).unwrap();
    }
    let bench = env!("CARGO_BIN_EXE_bench");
    let runs = "idle,slot,prune,managed,quiet,approved,enforced";
    let run = Command::new(bench)
        .args(["--latency-ms", "0", "--size", "60", "--run", runs])
        .arg("--build")
        .arg(&build)
        .output()
        .unwrap();
    let (told, errors) = (
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr),
    );
    assert!(run.status.success(), "{errors}");
    for run in runs.split(',') {
        assert!(told.contains(&format!("\n| {run} | 60 |")), "{run}: {told}");
    }
}
