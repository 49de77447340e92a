"""SQS: a queue's URL as AWS has it, and the count of what it was sent.

moto puts its own address into URLs, which a copy of this emulator doesn't share.
"""

from __future__ import annotations

from typing import Any

from moto.sqs.models import Queue, SQSBackend

from emulator import metrics
from emulator.patching import patched


@patched(Queue)
def url(original: Any, self: Queue, request_url: Any) -> str:
    return f"https://sqs.{self.region}.amazonaws.com/{self.account_id}/{self.name}"


@patched(SQSBackend)
def send_message(original: Any, self: SQSBackend, queue_name: str, *arguments: Any, **options: Any) -> Any:
    sent = original(self, queue_name, *arguments, **options)
    metrics.put("AWS/SQS", "NumberOfMessagesSent", 1, "Count", {"QueueName": queue_name})
    return sent
