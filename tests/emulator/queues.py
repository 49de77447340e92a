"""SQS: a queue's URL as AWS has it. moto puts its own address there, which a copy of this emulator doesn't share."""

from __future__ import annotations

from typing import Any

from moto.sqs.models import Queue

from emulator.patching import patched


@patched(Queue)
def url(original: Any, self: Queue, request_url: Any) -> str:
    return f"https://sqs.{self.region}.amazonaws.com/{self.account_id}/{self.name}"
