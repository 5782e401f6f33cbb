"""Loopback ports that nobody listens on, for programs that want to be told theirs."""

from __future__ import annotations

import random
import socket

_HOST = "127.0.0.1"
_RANGE = range(15_000, 32_000)
"""Below the ports that the system gives to connections: between choosing a port and listening on it
any connection of any program could take one of those."""
_CHOICE = random.SystemRandom()


def free_ports(count: int) -> list[int]:
    """Return ``count`` different TCP ports on loopback that are free now."""
    sockets: list[socket.socket] = []
    while len(sockets) < count:
        try:
            sockets.append(socket.create_server((_HOST, _CHOICE.choice(_RANGE))))
        except OSError:
            continue  # it is taken
    ports = [int(listener.getsockname()[1]) for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports
