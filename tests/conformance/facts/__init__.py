"""The probes, a module for each chapter of docs/aws-facts.md."""

from conformance.facts import ami, asg, ddb, ebs, notices, sam, ssm  # noqa: F401
