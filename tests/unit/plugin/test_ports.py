"""Ports for programs that are told theirs."""

import socket

from plugin.simulation.ports import free_ports


def test_ports_differ_can_be_listened_on_and_are_given_to_no_connection() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    for port in ports:
        assert port < 32_768
        socket.create_server(("127.0.0.1", port)).close()
