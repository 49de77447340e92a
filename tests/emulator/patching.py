"""The one way in which this package changes moto.

    @patched(EC2Response)
    def describe_volumes(original, self): ...      # replaces a method, gets the original one first

    @added(EC2Response)
    def lock_snapshot(self): ...                   # a method that moto lacks

moto is pinned, and both helpers check that what they change is as expected, so that an update of moto which renames
a method, or learns to do what we added, fails at start instead of silently bypassing the strictness.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any


class PatchError(Exception):
    pass


def patched(target: Any, name: str | None = None) -> Callable:
    """Replace a function, method, classmethod, staticmethod or property getter of a class or module."""

    def decorate(replacement: Callable) -> Callable:
        attribute = name or replacement.__name__
        found = _lookup(target, attribute)
        if found is None:
            raise PatchError(f"{target!r} has no {attribute} to patch: moto changed, or use @added")
        _check_keeps(replacement, found, f"{target!r}.{attribute}")
        if isinstance(found, property):
            new: Any = property(_bind(replacement, found.fget), found.fset, found.fdel)
        elif isinstance(found, classmethod):
            new = classmethod(_bind(replacement, found.__func__))
        elif isinstance(found, staticmethod):
            new = staticmethod(_bind(replacement, found.__func__))
        else:
            new = _bind(replacement, found)
        setattr(target, attribute, new)
        return replacement

    return decorate


def added(target: Any, name: str | None = None) -> Callable:
    """Add a function or method that moto lacks."""

    def decorate(function: Callable) -> Callable:
        attribute = name or getattr(function, "__name__", None) or function.fget.__name__
        if _lookup(target, attribute) is not None:
            raise PatchError(f"{target!r} already has {attribute}: moto learnt it, use @patched or drop ours")
        setattr(target, attribute, function)
        return function

    return decorate


def _lookup(target: Any, attribute: str) -> Any:
    """The raw attribute (a classmethod object, not the bound method), searched along the class hierarchy."""
    for owner in getattr(target, "__mro__", [target]):
        if attribute in vars(owner):
            return vars(owner)[attribute]
    return None


def _check_keeps(replacement: Callable, found: Any, what: str) -> None:
    """A replacement that doesn't call the original (it names it `_original`) must not undo another of our own."""
    function = found.fget if isinstance(found, property) else getattr(found, "__func__", found)
    before = getattr(function, "replacement", None)
    if before is not None and next(iter(inspect.signature(replacement).parameters)) == "_original":
        raise PatchError(
            f"{replacement.__module__} replaces {what}, which {before.__module__} has patched: it would be lost"
        )


def _bind(replacement: Callable, original: Callable) -> Callable:
    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        return replacement(original, *args, **kwargs)

    call.replacement = replacement  # type: ignore[attr-defined]
    return call
