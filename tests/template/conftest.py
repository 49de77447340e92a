import os
import shutil
import sys

import pytest
import samstack

# The tests ask nothing of AWS; nothing of the caller's account is to get in.
for variable in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[variable]
# SAM's translator asks for it, to know the partition.
os.environ["AWS_DEFAULT_REGION"] = samstack.REGION


@pytest.fixture(scope="session")
def stack() -> samstack.Stack:
    return samstack.default_stack()


@pytest.fixture(scope="session")
def sam() -> str:
    """The sam command of the environment that runs the tests."""
    beside = os.path.join(os.path.dirname(sys.executable), "sam")
    found = beside if os.path.exists(beside) else shutil.which("sam")
    assert found, "sam not found; tests/requirements.txt names aws-sam-cli"
    return found
