"""What processes that receive have in common: sockets of their parent, and an end with it.

The parent binds the sockets and keeps them open, so that connections queue while a child is
replaced. A child reads its order as one JSON line from standard input and ends when that input
ends, so it cannot outlive its parent.
"""

from __future__ import annotations

import errno
import faulthandler
import json
import logging
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

from dicom_node.repeated_logs import RepeatFilter

DISK_FAILED = 74
"""How a child ends whose disk failed: EX_IOERR of sysexits.h."""

_BACKLOG = 512
_BIND_SECONDS = 3.0
_BIND_AGAIN_SECONDS = 0.05


def listen_on(host: str, ports: Mapping[str, int]) -> dict[str, socket.socket]:
    """Return listening sockets by name; none is left open where one cannot be bound.

    Raises:
        OSError: a port cannot be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listeners: dict[str, socket.socket] = {}
    try:
        for name, port in ports.items():
            listeners[name] = _bind((host, port), family)
    except OSError:
        for listener in listeners.values():
            listener.close()
        raise
    return listeners


def _bind(address: tuple[str, int], family: socket.AddressFamily) -> socket.socket:
    """Return a listening socket; wait a little for receivers of a node that was just killed.

    They close their copies of its listening sockets when they notice, which takes a moment.
    """
    deadline = time.monotonic() + _BIND_SECONDS
    while True:
        try:
            return socket.create_server(address, family=family, backlog=_BACKLOG)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise
        time.sleep(_BIND_AGAIN_SECONDS)


def start_child(
    module: str, order: Mapping[str, Any], descriptors: Iterable[int]
) -> subprocess.Popen[bytes]:
    """Start ``python -m module`` with an order and open descriptors; its input is its lifeline."""
    process = subprocess.Popen(
        [sys.executable, "-m", module], stdin=subprocess.PIPE, pass_fds=tuple(descriptors)
    )
    if process.stdin is not None:
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.flush()
    return process


def end_child(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait for a child that was told to end; kill it where it takes longer than ``seconds``."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    close_lifeline(process)


def close_lifeline(process: subprocess.Popen[bytes]) -> None:
    """Close the child's input: it ends if it has not."""
    if process.stdin is not None:
        try:
            process.stdin.close()
        except BrokenPipeError:
            # The child is gone; so is its end of the pipe.
            return


def tell_where_on_request() -> None:
    """Have SIGUSR1 write to standard error where each thread stands: names of functions alone."""
    faulthandler.register(signal.SIGUSR1, all_threads=True)


def begin_child() -> dict[str, Any]:
    """Prepare a child process and return its order; the process ends where there is none."""
    # The parent decides when to end: a Ctrl-C at the terminal reaches every process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tell_where_on_request()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for handler in logging.getLogger().handlers:
        handler.addFilter(RepeatFilter())
    # The usual soft limit is less than the connections and files that the settings allow.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    order: dict[str, Any] = json.loads(_first_line(0))
    return order


def _first_line(descriptor: int) -> bytes:
    """Read a line without taking a byte more, which would hide the end of the input."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(descriptor, 1)
        if not byte:
            sys.exit(0)
        line += byte
    return bytes(line)
