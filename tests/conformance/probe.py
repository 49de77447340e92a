"""What a probe is, and the words in which it says what must come.

    @probe("EBS-5", must="SnapshotCreationPerVolumeRateExceeded", usd=0.001, seconds=10)
    def two_snapshots_of_a_volume_within_15_seconds(aws):
        "Snapshots a volume, and at once again."
        volume = aws.volume()
        aws.ec2.create_snapshot(VolumeId=volume)
        with refused("SnapshotCreationPerVolumeRateExceeded"):
            aws.ec2.create_snapshot(VolumeId=volume)

What it makes it needn't remove: the account notes each thing when it is made. It states what AWS answers, whatever the
local AWS does. An error outside `refused` and `accepted` says nothing about the fact: then it couldn't be tried.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

DENIED = {
    "AccessDenied", "AccessDeniedException", "AuthFailure", "AuthorizationError", "ExpiredToken",
    "ExpiredTokenException", "InvalidClientTokenId", "OptInRequired", "RequestExpired", "SubscriptionRequiredException",
    "UnauthorizedOperation", "UnrecognizedClientException",
}  # fmt: skip
UNLUCKY = {
    "InsufficientInstanceCapacity", "InstanceLimitExceeded", "InternalError", "InternalFailure", "InternalServerError",
    "InternalServiceError", "LimitExceeded", "LimitExceededException", "MaxSpotInstanceCountExceeded",
    "RequestLimitExceeded", "ServiceUnavailable", "Throttling", "ThrottlingException", "TooManyRequestsException",
    "Unavailable", "VcpuLimitExceeded", "VolumeLimitExceeded", "VpcLimitExceeded",
}  # fmt: skip


class Differs(Exception):
    """AWS did something else than the fact says; the message says what."""


class NotTried(Exception):
    """The fact was neither confirmed nor refuted; the message says why."""


@dataclass(frozen=True)
class Probe:
    facts: tuple[str, ...]
    does: str
    must: str
    """What must come."""
    usd: float
    """What it costs on AWS: an estimate from the list prices of us-east-1, rounded up."""
    seconds: int
    """How long it takes on AWS: an estimate."""
    function: Callable[[Any], None]

    @property
    def name(self) -> str:
        return self.function.__name__


@dataclass(frozen=True)
class Untried:
    """A fact, or what of it no probe tries, and why."""

    fact: str
    why: str


PROBES: list[Probe] = []
UNTRIED: list[Untried] = []


def probe(*facts: str, must: str, usd: float = 0.0, seconds: int = 5) -> Callable:
    """Register a probe. Its docstring says what it does; calls of AWS's APIs alone cost nothing."""

    def decorate(function: Callable[[Any], None]) -> Callable[[Any], None]:
        does = inspect.cleandoc(function.__doc__ or "")
        if not facts or not does or any(function.__name__ == known.name for known in PROBES):
            raise ValueError(f"{function.__name__}: a probe needs facts, a docstring and a name of its own")
        PROBES.append(Probe(facts, does, must, usd, seconds, function))
        return function

    return decorate


def untried(fact: str, why: str) -> None:
    """Register why a fact, or what its probes leave out, isn't tried."""
    UNTRIED.append(Untried(fact, why))


# ---- What must come ----


@dataclass
class Refusal:
    code: str = ""
    message: str = ""


@contextmanager
def refused(*codes: str, saying: str | tuple[str, ...] = (), silent: bool = False) -> Iterator[Refusal]:
    """The call must be refused with one of these codes (without any: with whichever), and these words.

    `silent`: without a message. What came stands in the Refusal, for a note.
    """
    refusal = Refusal()
    wanted = f"refused with {' or '.join(codes)}" if codes else "refused"
    try:
        yield refusal
    except ClientError as error:
        refusal.code = error.response["Error"]["Code"]
        refusal.message = error.response["Error"].get("Message", "")
        if refusal.code not in codes:
            raise_if_it_says_nothing(error)
            if codes:
                raise Differs(f"{said(error)}; it must be {wanted}") from error
        words = (saying,) if isinstance(saying, str) else saying
        if missing := [word for word in words if word not in refusal.message]:
            raise Differs(f"{said(error)}; the message must say {missing}") from error
        # botocore puts "None" or nothing where an error has no message.
        if silent and refusal.message not in ("", "None"):
            raise Differs(f"{said(error)}; there must be no message") from error
    else:
        raise Differs(f"accepted; it must be {wanted}")


@contextmanager
def accepted() -> Iterator[None]:
    """The call must not be refused."""
    try:
        yield
    except ClientError as error:
        raise_if_it_says_nothing(error)
        raise Differs(f"{said(error)}; it must be accepted") from error


def expect(what: str, came: Any, wanted: Any) -> None:
    if came != wanted:
        raise Differs(f"{what} is {came!r}; it must be {wanted!r}")


def expect_that(what: str, holds: object, came: Any) -> None:
    """`what` is the whole sentence that must be true."""
    if not holds:
        raise Differs(f"it must be that {what}; what came is {came!r}")


def said(error: ClientError) -> str:
    details = error.response["Error"]
    return f"{error.operation_name} answered {details['Code']}: {details.get('Message') or '(no message)'}"


def raise_if_it_says_nothing(error: ClientError) -> None:
    """Whoever isn't allowed, or is throttled, or finds AWS without capacity learns nothing about the fact."""
    code, status = error.response["Error"]["Code"], error.response["ResponseMetadata"].get("HTTPStatusCode", 400)
    if code in DENIED:
        raise NotTried(f"not allowed: {said(error)}") from error
    if code in UNLUCKY or status >= 500:
        raise NotTried(said(error)) from error
