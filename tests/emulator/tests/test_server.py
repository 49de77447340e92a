"""Starting, stopping, and several side by side."""

import glob
import os
import signal
import subprocess
import sys
import tempfile
import threading

import pytest
from conftest import ACCOUNT, TESTS, Emulator, allow, function_archive, make_role
from ec2_help import eventually


def test_answers_an_api_call_and_records_it(emulator, client):
    assert client("sts").get_caller_identity()["Account"] == ACCOUNT
    (call,) = emulator.control("GET", "calls")["calls"]
    assert (call["service"], call["operation"], call["caller"]) == ("sts", "GetCallerIdentity", "client")
    assert (call["status"], call["error"], call["executed"]) == (200, None, True)


def test_calls_can_be_filtered_and_cleared(emulator, client):
    client("sts").get_caller_identity()
    with pytest.raises(client("ssm").exceptions.ParameterNotFound):
        client("ssm").get_parameter(Name="/p")
    (call,) = emulator.control("GET", "calls", error="ParameterNotFound")["calls"]
    assert call["parameters"] == {"Name": "/p"}
    assert emulator.control("GET", "calls", after=call["number"])["calls"] == []
    emulator.control("DELETE", "calls")
    assert emulator.control("GET", "calls")["calls"] == []


def running(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        # The latter when it ends between the two.
        return False


def gone(pid):
    return eventually(lambda: not running(pid))


def busy_function(emulator):
    """A function that sleeps for a minute; returns its process id."""
    role = make_role(emulator.client("iam"), "r", "lambda", allow("*"))
    emulator.client("lambda").create_function(
        FunctionName="f",
        Runtime="provided.al2023",
        Role=role,
        Handler="b",
        Code={"ZipFile": function_archive()},
        Timeout=60,
    )
    emulator.client("lambda").invoke(FunctionName="f", InvocationType="Event", Payload=b'{"sleep": 60}')
    return eventually(lambda: [r["pid"] for r in emulator.control("GET", "invocations")["invocations"] if r["pid"]])[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_function_outlives_the_emulator(number):
    emulator = Emulator()
    pid = busy_function(emulator)
    assert running(pid)
    emulator.process.send_signal(number)
    emulator.process.wait(timeout=60)
    assert gone(pid)
    folders = glob.glob(os.path.join(tempfile.gettempdir(), f"emulator-code-{emulator.process.pid}-*"))
    if number == signal.SIGKILL:
        # It couldn't remove them itself; the next one does.
        assert folders
        following = Emulator()
        busy_function(following)
        following.stop()
    assert not any(os.path.exists(folder) for folder in folders)


def test_the_emulator_dies_with_the_process_that_started_it():
    code = (
        "import subprocess, sys\n"
        "command = [sys.executable, '-m', 'emulator', '--die-with-parent']\n"
        "child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    assert gone(pid)


def test_several_run_side_by_side_with_an_account_and_region_of_their_own():
    emulators = []
    starts = [
        threading.Thread(
            target=lambda account=account: emulators.append(Emulator("--account", account, "--region", "eu-west-1"))
        )
        for account in ("111111111111", "222222222222")
    ]
    for start in starts:
        start.start()
    for start in starts:
        start.join()
    try:
        accounts = {e.client("sts").get_caller_identity()["Account"] for e in emulators}
        assert accounts == {"111111111111", "222222222222"}
        first, second = emulators
        first.client("ssm").put_parameter(Name="/p", Type="String", Value="x")
        assert second.client("ssm").describe_parameters()["Parameters"] == []
    finally:
        for e in emulators:
            e.stop()


def test_a_reset_empties_the_account_and_ends_functions(emulator):
    pid = busy_function(emulator)
    emulator.control("POST", "reset")
    assert gone(pid)
    assert emulator.client("lambda").list_functions()["Functions"] == []
    assert emulator.control("GET", "invocations")["invocations"] == []
    assert emulator.control("POST", "wait-idle", timeout=30)["idle"]


def test_an_unknown_control_route_names_the_known_ones(emulator):
    with pytest.raises(Exception, match="known: .*POST reset"):
        emulator.control("POST", "snapshot")
