"""Taking a member out of its group."""

from __future__ import annotations

from emulator.autoscaling import clock, health
from emulator.autoscaling.model import Member


def terminate(member: Member, because: str, story: str = "") -> None:
    """Start to take a member out. `because` is a sentence without its time."""
    group, at = member.group, clock.text(clock.now())
    if member.launching is not None:
        member.launching.finish("Cancelled", "The instance was terminated before it was in service")
        member.launching = None
    member.terminating = group.start(
        f"Terminating EC2 instance: {member.id}", f"{story}At {at} {because}", member.instance
    )
    member.terminating.progress = 30
    member.enter("Terminating")
    for arn in group.target_groups:
        health.deregister(arn, member.instance)
