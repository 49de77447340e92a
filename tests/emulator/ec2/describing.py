"""Describe calls in one shape: ids, filters, paging.

    describes("DescribeNatGateways", …)

moto pages none of these, and leaves out or guesses at many filters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from moto.core.responses import ActionResult
from moto.core.utils import camelcase_to_underscores
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.responses import EC2Response

from emulator.ec2 import filters, paging, tags
from emulator.patching import patched


@dataclass(frozen=True)
class Description:
    operation: str
    items: Callable[[Any], Iterable[Any]]
    """All of the backend's."""
    readers: filters.Readers
    highest: int
    """The largest page (botocore's service model)."""
    ids: str
    """The parameter with ids."""
    not_found: tuple[str, str]
    """The error's code and words for an unknown id: "The vpc ID '{}' does not exist"."""
    lowest: int = 5
    result: str = ""
    """The member of the answer that holds the items, where it isn't the operation's name without Describe."""
    cut: bool = False
    """Whether a larger page than the largest is cut, not refused."""
    ids_exclude_max_results: bool = False
    filters: str = "Filters"
    tags_of: Callable[[Any], dict[str, str]] = tags.of


def describes(operation: str, **members: Any) -> None:
    """Replace moto's method by what Description(operation, **members) says."""
    description = Description(operation, **members)

    def describe(_original: Any, self: Any) -> ActionResult:
        self.error_on_dryrun()
        return ActionResult(answer(self, description))

    patched(EC2Response, camelcase_to_underscores(operation))(describe)


def answer(request: Any, description: Description) -> dict[str, Any]:
    ids = request._get_param(description.ids) or []
    found = list(description.items(request.ec2_backend))
    if ids:
        if unknown := set(ids) - {item.id for item in found}:
            code, words = description.not_found
            raise EC2ClientError(code, words.format(sorted(unknown)[0]))
        found = [item for item in found if item.id in ids]
    wanted = {f["Name"]: f.get("Values") or [] for f in request._get_param(description.filters) or []}
    chosen = filters.select(found, wanted, description.readers, description.tags_of)
    chunk, token = paging.page(
        chosen,
        id_of=lambda item: item.id,
        request=request,
        operation=description.operation,
        limits=paging.Limits(description.lowest, description.highest, description.ids, description.cut),
        ids=ids if description.ids_exclude_max_results else [],
    )
    return {description.result or description.operation.removeprefix("Describe"): chunk, "NextToken": token}
