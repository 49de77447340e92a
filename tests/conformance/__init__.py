"""The facts of docs/aws-facts.md, run against an AWS: see docs/conformance.md.

`facts/` has the probes, a module for each chapter of the page. `probe.py` says what a probe is; `account.py` is what
it works on: clients that tag all they make, and refuse to touch what the run didn't make; `made.py` knows how each
kind of thing is tagged, found again and removed; `run.py` tries the probes and cleans up; `report.py` writes what came
of it.
"""
