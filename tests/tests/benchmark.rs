//! The benchmark itself: each of its runs on a small estate, so that it can't rot.

use std::process::Command;

#[test]
fn every_run_of_the_benchmark_passes_its_check() {
    let bench = env!("CARGO_BIN_EXE_bench");
    let runs = "idle,slot,prune,managed,quiet,approved,enforced";
    let run = Command::new(bench)
        .args(["--latency-ms", "0", "--size", "60", "--run", runs])
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
