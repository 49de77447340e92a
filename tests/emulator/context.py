"""What every module needs to know about the running emulator: one account, one home region, one endpoint.

`lock` guards all of moto's state. The gateway holds it while an API call executes, so a check and the change
that follows it are atomic, as they are in AWS. Background threads (timers, schedules, deliveries) take it before
they touch a moto backend. It is re-entrant. Nothing may wait for a Lambda function while holding it: the function's
own API calls need it.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field


@dataclass
class Context:
    account_id: str = "123456789012"
    region: str = "eu-central-1"
    # Where the request that is looked at now was sent to; under the lock.
    asked_region: str = "eu-central-1"
    endpoint: str = ""  # http://127.0.0.1:PORT, set when the socket is bound
    lock: threading.RLock = field(default_factory=threading.RLock)
    # Raised by reset: a timer started before a reset must not touch what came after it.
    generation: int = 0


context = Context()


def later(seconds: float, action, *args) -> None:
    """Run action(*args) under the lock after `seconds`, unless the emulator was reset in between."""
    generation = context.generation

    def run() -> None:
        with context.lock:
            if context.generation == generation:
                action(*args)

    timer = threading.Timer(seconds, run)
    timer.daemon = True
    timer.start()
