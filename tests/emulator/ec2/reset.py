"""Forgetting everything, quickly and without leaving it in memory (6 MB a time)."""

from __future__ import annotations

from typing import Any

from moto.core.base_backend import AccountSpecificBackend
from moto.ec2 import utils
from moto.ec2.models.subnets import Subnet
from moto.moto_api._internal import mock_random

from emulator.control import on_reset
from emulator.patching import patched


@patched(AccountSpecificBackend)
def reset(original: Any, self: Any) -> None:
    """moto fills EC2 with its 1,300 images, only to drop it right afterwards."""
    if self.service_name == "ec2":
        self.clear()
    else:
        original(self)


@patched(utils)
def random_resource_id(_original: Any, size: int) -> str:
    """moto draws each digit by itself: half of the time that EC2 with its images takes to come back."""
    return f"{mock_random.getrandbits(4 * size):0{size}x}"


@on_reset
def forget_subnets() -> None:
    """moto caches the addresses of each subnet by the subnet itself, which leads to its whole backend."""
    Subnet._base_avail_ip_iterator.cache_clear()
