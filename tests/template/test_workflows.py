"""What GitHub runs: no action that somebody could exchange, no right that a job doesn't need, no text of others in a shell."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_workflows_have_no_findings():
    zizmor = Path(sys.executable).with_name("zizmor")
    command = [zizmor, "--offline", "--pedantic", "--strict-collection", ".github"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr
