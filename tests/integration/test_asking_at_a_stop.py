"""A node that ends while a command asks an archive: the command ends before the data folder."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from plugin.app import Node
from plugin.control import ControlServer, call
from plugin.errors import PluginError
from plugin.settings import load_settings
from plugin.settings_template import render
from plugin.simulation.ports import free_ports
from tests.raw_peers import (
    LIMIT,
    Behaviour,
    RawPeer,
    endless_data,
    ends,
    half_a_message,
    half_an_acceptance,
    raw_peer,
    silence,
    threads_of_associations,
)
from tests.retrieval_room import PACS


@contextmanager
def served(folder: Path, behaviour: Behaviour) -> Iterator[tuple[Node, threading.Event]]:
    """A node in this process beside an archive of bytes; the event: it was asked something."""
    reached = threading.Event()

    def noted(peer: RawPeer) -> None:
        reached.set()
        behaviour(peer)

    dicom, http, hl7 = free_ports(3)
    with raw_peer(noted) as peer:
        text = render(dicom_port=dicom, http_port=http, hl7_port=hl7)
        text = text.replace("minimum_free_bytes = 1073741824", "")
        text = text.replace("[dicom] ", "[dicom]\nminimum_free_bytes = 0\n#")
        path = folder / "radloop.toml"
        path.write_text(text + PACS.format(port=peer.port, way="get"))
        node = Node(load_settings(path))
        node.__enter__()
        try:
            yield node, reached
        finally:
            assert ends(lambda: node.__exit__(None, None, None)) == []
        assert threads_of_associations() == []


def asked(folder: Path) -> str:
    path = folder / "asked.csv"
    path.write_text("accession_number\nA-1\nA-2\n")
    return str(path)


def test_a_trial_ends_with_the_node(tmp_path: Path) -> None:
    said: list[str] = []
    arguments = {"path": asked(tmp_path), "peer": "", "priors": 0}

    def ask() -> None:
        try:
            call(socket, "backfill try", arguments, lambda _line: None)
        except PluginError as error:
            said.append(str(error))

    with served(tmp_path, silence) as (node, reached):
        socket = node.context.folder.control_socket
        caller = threading.Thread(target=ask)
        caller.start()
        assert reached.wait(LIMIT)
    caller.join(LIMIT)
    assert said == ["the node is stopping"]
    with node.context.folder.exclusive():  # nobody writes there any more
        pass


@pytest.mark.parametrize("behaviour", [half_an_acceptance, half_a_message, endless_data])
def test_a_node_that_fetches_ends_whatever_the_archive_does(
    tmp_path: Path, behaviour: Behaviour
) -> None:
    with served(tmp_path, behaviour) as (node, reached):
        arguments = {"path": asked(tmp_path), "peer": "", "priors": 0, "name": "all"}
        socket = node.context.folder.control_socket
        call(socket, "backfill start", arguments, lambda _line: None)
        assert reached.wait(LIMIT)


def test_a_command_of_another_kind_is_not_waited_for(tmp_path: Path) -> None:
    begun, end = threading.Event(), threading.Event()
    done: list[str] = []

    def work(command: str, _arguments: Any, _progress: Any) -> dict[str, Any]:
        begun.set()
        assert end.wait(LIMIT)
        done.append(command)
        return {}

    for command, awaited in (("train", False), ("reconcile", True)):
        begun.clear()
        end.clear()
        server = ControlServer(tmp_path / "control.sock", work, {"reconcile"})
        caller = threading.Thread(
            target=lambda name=command: call(tmp_path / "control.sock", name, {}, lambda _: None)
        )
        caller.start()
        assert begun.wait(LIMIT)
        if awaited:
            threading.Timer(0.5, end.set).start()
        server.close()
        assert (command in done) is awaited
        end.set()
        caller.join(LIMIT)
