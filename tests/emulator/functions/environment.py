"""One execution environment of a function: a process that asks the Runtime API for events, one at a time.

The Runtime API (2018-06-01): the process GETs invocation/next, works, and POSTs invocation/ID/response or
invocation/ID/error; a failing start POSTs init/error. Each environment has an endpoint of its own, because the
process is told only a host and a port.
"""

from __future__ import annotations

import json
import os
import queue
import select
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from emulator import callers
from emulator.context import context
from emulator.functions.invocations import Invocation
from emulator.process import die_with_parent

INIT_LIMIT_SECONDS = 10.0
"""Lambda gives the start of a process 10 s before the function's own timeout begins to count."""

MAX_RESPONSE_BYTES = 6_291_556

# The kernel ties a child to the thread that forked it (PR_SET_PDEATHSIG): one thread that never ends starts them all.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")


@dataclass(frozen=True)
class Configuration:
    """A function as deployed. Environments of an older configuration take no further events."""

    function_name: str
    function_arn: str
    role_arn: str
    handler: str
    memory_mb: int
    timeout_seconds: float
    variables: tuple[tuple[str, str], ...]
    code_sha256: str
    task_root: str
    log_group: str
    log_format: str = "Text"
    log_level: str | None = None
    """Only with JSON: lines below it are dropped."""


@dataclass
class Outcome:
    kind: str
    """success, error, timeout, crash"""
    payload: bytes
    """The response, or the error object, as JSON."""


@dataclass
class _Event:
    invocation: Invocation
    payload: bytes
    trace_id: str


class Environment:
    def __init__(self, configuration: Configuration, write_log: Callable[[Environment, list[str]], None]) -> None:
        self.configuration = configuration
        self.function_name = configuration.function_name
        self.role_arn = configuration.role_arn
        self.log_stream = f"{datetime.now(UTC):%Y/%m/%d}/[$LATEST]{uuid.uuid4().hex}"
        self.credentials = callers.issue(self)
        self.alive = True
        self.generation = context.generation
        self.process: subprocess.Popen[bytes] | None = None
        self._write_log = write_log
        self._current: _Event | None = None
        self._deadline_ms = 0
        self._events: queue.Queue[_Event | None] = queue.Queue()
        self._outcomes: queue.Queue[tuple[str, str | None, bytes]] = queue.Queue()
        self._ready = threading.Event()
        self._init_error: bytes | None = None
        self._output_guard = threading.Lock()
        self._partial_line = b""
        self._server = _RuntimeApi(("127.0.0.1", 0), _handler_for(self))
        threading.Thread(target=self._server.serve_forever, name="runtime-api", daemon=True).start()

    @property
    def current_request_id(self) -> str | None:
        event = self._current
        return event.invocation.request_id if event else None

    # ---- running one event ----

    def run(self, invocation: Invocation, payload: bytes) -> Outcome:
        """Hand the event to the process and wait for what comes of it. One caller at a time."""
        invocation.cold_start = self.process is None
        event = _Event(invocation, payload, _trace_id())
        self._current = event
        invocation.started = time.time()
        failure = self._start() if self.process is None else None
        if invocation.cold_start:
            self._platform_log("initStart")
        if self.process is not None:
            invocation.pid = self.process.pid
        if failure is None and invocation.cold_start:
            failure = self._wait_until_ready(invocation)
        self._platform_log("start")
        begun = time.time()
        outcome = failure or self._deliver(event)
        invocation.ended = time.time()
        invocation.duration_seconds = invocation.ended - begun
        invocation.peak_memory_kb = self._peak_memory_kb() or invocation.peak_memory_kb
        self._drain_output()
        self._platform_log("end", outcome=outcome, seconds=invocation.duration_seconds)
        self._current = None
        if failure is not None or outcome.kind in ("timeout", "crash"):
            self.stop()
        return outcome

    def _wait_until_ready(self, invocation: Invocation) -> Outcome | None:
        started = time.time()
        limit = INIT_LIMIT_SECONDS + self.configuration.timeout_seconds
        while not self._ready.wait(0.005):
            if self._init_error is not None:
                return Outcome("error", self._init_error)
            exit_status = self._exit_status()
            if exit_status is not None:
                return Outcome("crash", self._init_error or self._exit_error(exit_status))
            if time.time() - started > limit:
                return Outcome("timeout", self._timed_out())
        invocation.init_seconds = time.time() - started
        return None

    def _deliver(self, event: _Event) -> Outcome:
        end = time.time() + self.configuration.timeout_seconds
        self._deadline_ms = int(end * 1000)
        self._events.put(event)
        while True:
            try:
                kind, request_id, body = self._outcomes.get(timeout=max(0.0, end - time.time()))
            except queue.Empty:
                event.invocation.peak_memory_kb = self._peak_memory_kb()
                return Outcome("timeout", self._timed_out())
            if kind == "exit":
                return Outcome("crash", self._exit_error(int(body)))
            if request_id == event.invocation.request_id:
                return Outcome("success" if kind == "response" else "error", body)

    def _timed_out(self) -> bytes:
        seconds = self.configuration.timeout_seconds
        message = f"RequestId: {self.current_request_id} Error: Task timed out after {seconds:.2f} seconds"
        return json.dumps({"errorType": "Sandbox.Timedout", "errorMessage": message}).encode()

    def _exit_error(self, status: int) -> bytes:
        how = f"exit status {status}" if status >= 0 else f"signal: {_signal_word(-status)}"
        message = f"RequestId: {self.current_request_id} Error: Runtime exited with error: {how}"
        if status == 0:
            message = f"RequestId: {self.current_request_id} Error: Runtime exited without providing a reason"
        return json.dumps({"errorType": "Runtime.ExitError", "errorMessage": message}).encode()

    # ---- the process ----

    def _start(self) -> Outcome | None:
        bootstrap = os.path.join(self.configuration.task_root, "bootstrap")
        try:
            self.process = _spawner.submit(self._spawn, bootstrap).result()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            message = f"RequestId: {self.current_request_id} Error: fork/exec /var/task/bootstrap: {reason}"
            body = {"errorType": "Runtime.InvalidEntrypoint", "errorMessage": message}
            return Outcome("crash", json.dumps(body).encode())
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        threading.Thread(target=self._watch, name="function-output", daemon=True).start()
        return None

    def _spawn(self, bootstrap: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [bootstrap],
            cwd=self.configuration.task_root,
            env=self._variables(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )

    def _variables(self) -> dict[str, str]:
        """What Lambda defines for an OS-only runtime, after the function's own (which can't override it)."""
        configuration = self.configuration
        log_level = {"AWS_LAMBDA_LOG_LEVEL": configuration.log_level} if configuration.log_level else {}
        return (
            dict(configuration.variables)
            | log_level
            | {
                "PATH": "/usr/local/bin:/usr/bin:/bin:/opt/bin",
                "LANG": "en_US.UTF-8",
                "TZ": ":UTC",
                "_HANDLER": configuration.handler,
                "LAMBDA_TASK_ROOT": configuration.task_root,
                "LAMBDA_RUNTIME_DIR": configuration.task_root,
                "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._server.server_port}",
                "AWS_LAMBDA_FUNCTION_NAME": configuration.function_name,
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(configuration.memory_mb),
                "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
                "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
                "AWS_LAMBDA_LOG_FORMAT": configuration.log_format,
                "AWS_LAMBDA_LOG_GROUP_NAME": configuration.log_group,
                "AWS_LAMBDA_LOG_STREAM_NAME": self.log_stream,
                "AWS_REGION": context.region,
                "AWS_DEFAULT_REGION": context.region,
                "AWS_ACCESS_KEY_ID": self.credentials.access_key_id,
                "AWS_SECRET_ACCESS_KEY": self.credentials.secret_access_key,
                "AWS_SESSION_TOKEN": self.credentials.session_token,
                # In AWS the SDK finds the service by its region; here by this.
                "AWS_ENDPOINT_URL": context.endpoint,
            }
        )

    def kill(self) -> None:
        """SIGKILL the process and what it started."""
        process = self.process
        if process is not None and process.poll() is None:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def stop(self) -> None:
        self.alive = False
        self.kill()
        callers.revoke(self.credentials)
        self._events.put(None)
        threading.Thread(target=self._close_server, name="runtime-api-close", daemon=True).start()

    def _close_server(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _exit_status(self) -> int | None:
        return self.process.poll() if self.process else None

    def _peak_memory_kb(self) -> int | None:
        """VmHWM; unknown once the process is gone (its rusage would count this emulator's own pages too)."""
        if self.process is None:
            return None
        try:
            with open(f"/proc/{self.process.pid}/status") as status:
                for line in status:
                    if line.startswith("VmHWM:"):
                        return int(line.split()[1])
        except OSError:
            pass
        return None

    # ---- output ----

    def _watch(self) -> None:
        """Read the process's output until it ends, then tell whoever waits."""
        assert self.process is not None and self.process.stdout is not None
        pipe = self.process.stdout.fileno()
        exited = False
        while not exited:
            # The pipe may stay open after the process is gone, held by a child; so look at both.
            readable, _, _ = select.select([pipe], [], [], 0.2)
            exited = self.process.poll() is not None
            if readable and not self._drain_output():
                break
        status = self.process.wait()
        self.alive = False
        self._drain_output()
        self._outcomes.put(("exit", None, str(status).encode()))

    def _drain_output(self) -> bool:
        """Take all that the process has written so far; False at the end of the pipe.

        What a function wrote before it answered is in the pipe by then, so each line lands in its own invocation.
        """
        if self.process is None or self.process.stdout is None:
            return False
        with self._output_guard:
            while True:
                try:
                    data = os.read(self.process.stdout.fileno(), 65536)
                except BlockingIOError:
                    return True
                except (OSError, ValueError):
                    return False
                *lines, self._partial_line = (self._partial_line + data).split(b"\n")
                if not data and self._partial_line:
                    lines, self._partial_line = [*lines, self._partial_line], b""
                self._log([line.decode(errors="replace") for line in lines])
                if not data:
                    return False

    def _log(self, lines: list[str]) -> None:
        if not lines:
            return
        event = self._current
        if event is not None:
            event.invocation.log.extend(lines)
        self._write_log(self, lines)

    def _platform_log(self, phase: str, outcome: Outcome | None = None, seconds: float = 0.0) -> None:
        """Lambda's own lines around an invocation, as text or JSON."""
        event = self._current
        assert event is not None
        request_id, invocation = event.invocation.request_id, event.invocation
        memory_mb = self.configuration.memory_mb
        used_mb = round((invocation.peak_memory_kb or 0) / 1024)
        billed = f"{seconds * 1000:.2f}"
        if self.configuration.log_format == "JSON":
            metrics = {
                "durationMs": round(seconds * 1000, 3),
                "memorySizeMB": memory_mb,
                "maxMemoryUsedMB": used_mb,
            }
            if invocation.init_seconds is not None:
                metrics["initDurationMs"] = round(invocation.init_seconds * 1000, 3)
            records = {
                "initStart": [("platform.initStart", {"initializationType": "on-demand", "phase": "init"})],
                "start": [("platform.start", {"requestId": request_id, "version": "$LATEST"})],
                "end": [
                    (
                        "platform.report",
                        {
                            "requestId": request_id,
                            "status": _STATUS_WORDS[outcome.kind] if outcome else "success",
                            "metrics": metrics,
                        },
                    )
                ],
            }[phase]
            stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
            self._log([json.dumps({"time": stamp, "type": kind, "record": record}) for kind, record in records])
            return
        lines = {
            "initStart": ["INIT_START Runtime Version: provided:al2023 (local)"],
            "start": [f"START RequestId: {request_id} Version: $LATEST"],
            "end": [f"END RequestId: {request_id}"],
        }[phase]
        if phase == "end":
            assert outcome is not None
            report = f"REPORT RequestId: {request_id}\tDuration: {billed} ms\tMemory Size: {memory_mb} MB\t"
            report += f"Max Memory Used: {used_mb} MB"
            if invocation.init_seconds is not None:
                report += f"\tInit Duration: {invocation.init_seconds * 1000:.2f} ms"
            if outcome.kind == "timeout":
                lines.insert(0, f"{request_id} Task timed out after {self.configuration.timeout_seconds:.2f} seconds")
                report += "\tStatus: timeout"
            elif outcome.kind == "crash":
                lines.insert(0, json.loads(outcome.payload)["errorMessage"])
                report += "\tStatus: error\tError Type: Runtime.ExitError"
            lines.append(report)
        self._log(lines)

    # ---- called by the Runtime API's threads ----

    def next_event(self) -> tuple[_Event, int] | None:
        self._ready.set()
        event = self._events.get()
        return (event, self._deadline_ms) if event is not None else None

    def answered(self, kind: str, request_id: str | None, body: bytes) -> bool:
        """Whether the answer belongs to the event that runs: Lambda refuses any other."""
        if kind == "init-error":
            self._init_error = body
            return True
        if request_id != self.current_request_id:
            return False
        if kind == "response" and len(body) > MAX_RESPONSE_BYTES:
            message = f"Response payload size exceeded maximum allowed payload size ({MAX_RESPONSE_BYTES} bytes)."
            too_large = {"errorType": "Function.ResponseSizeTooLarge", "errorMessage": message}
            kind, body = "error", json.dumps(too_large).encode()
        self._outcomes.put((kind, request_id, body))
        return True


_STATUS_WORDS = {"success": "success", "error": "error", "timeout": "timeout", "crash": "failure"}


def _signal_word(number: int) -> str:
    return {signal.SIGKILL: "killed", signal.SIGSEGV: "segmentation fault", signal.SIGABRT: "aborted"}.get(
        signal.Signals(number), signal.Signals(number).name
    )


def _trace_id() -> str:
    return f"Root=1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]};Parent={uuid.uuid4().hex[:16]};Sampled=0"


class _RuntimeApi(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 16


def _handler_for(environment: Environment) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1  # one segment for head and body

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            if not self.path.endswith("/runtime/invocation/next"):
                return self._answer(404, _api_error("InvalidPath", self.path))
            found = environment.next_event()
            if found is None:
                self.close_connection = True
                return
            event, deadline_ms = found
            self._answer(
                200,
                event.payload,
                {
                    "Content-Type": "application/json",
                    "Lambda-Runtime-Aws-Request-Id": event.invocation.request_id,
                    "Lambda-Runtime-Deadline-Ms": str(deadline_ms),
                    "Lambda-Runtime-Invoked-Function-Arn": event.invocation.arn,
                    "Lambda-Runtime-Trace-Id": event.trace_id,
                },
            )

        def do_POST(self) -> None:
            body = self._body()
            parts = self.path.split("?")[0].strip("/").split("/")
            if parts[1:] == ["runtime", "init", "error"]:
                environment.answered("init-error", None, body)
                return self._answer(202, b'{"status":"OK"}')
            if len(parts) == 5 and parts[1:3] == ["runtime", "invocation"] and parts[4] in ("response", "error"):
                if environment.answered(parts[4], parts[3], body):
                    return self._answer(202, b'{"status":"OK"}')
                return self._answer(400, _api_error("InvalidRequestID", "Invalid request ID"))
            self._answer(404, _api_error("InvalidPath", self.path))

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            chunks = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return b"".join(chunks)

        def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {"Content-Type": "application/json"}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()

    return Handler


def _api_error(kind: str, message: str) -> bytes:
    return json.dumps({"errorType": kind, "errorMessage": message}).encode()
