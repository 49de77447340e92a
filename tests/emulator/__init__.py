"""A local AWS for ec2-guardrails: moto, pinned, plus what moto lacks or is too lax about.

`python -m emulator` starts it; README.md beside this file describes the control API.
"""
