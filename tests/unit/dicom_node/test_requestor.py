"""Associations that we request end within their deadlines, whatever the peer does or leaves."""

from __future__ import annotations

import socket
import struct
import threading
import tracemalloc
from collections.abc import Callable

import pytest

from dicom_node.archive_settings import PacsPeer
from dicom_node.commitment.asking import ask, send_report
from dicom_node.commitment.information import Information, Reference
from dicom_node.commitment.vocabulary import STORAGE_COMMITMENT
from dicom_node.errors import Transient
from dicom_node.line_watch import LineWatch, hang_up
from dicom_node.requestor import Timeouts, abandon, associate, release
from tests.commitment_room import MR
from tests.raw_peers import (
    LIMIT,
    Behaviour,
    RawPeer,
    a_huge_length,
    a_trickle,
    endless_data,
    ends,
    half_a_message,
    half_an_acceptance,
    raw_peer,
    silence,
    threads_of_associations,
)

QUICK = Timeouts(connection=5.0, association=1.0, response=1.0, network=30.0, pdu=1.0, total=4.0)
LONG = Timeouts(association=300.0, response=300.0, network=300.0, pdu=300.0, total=300.0)
ASKED = Information("2.25.1", (Reference(MR, "2.25.2"),))


def calls(peer: PacsPeer, timeouts: Timeouts) -> list[Callable[[], object]]:
    return [
        lambda: send_report(peer, "RADLOOP", ASKED, timeouts),
        lambda: ask(peer, "RADLOOP", ASKED, lambda _: True, 1.0, timeouts),
    ]


@pytest.mark.parametrize("call", [0, 1])
@pytest.mark.parametrize(
    "behaviour", [half_an_acceptance, half_a_message, silence, a_trickle, a_huge_length]
)
def test_no_peer_holds_us(behaviour: Behaviour, call: int) -> None:
    with raw_peer(behaviour) as peer:
        (raised,) = ends(calls(peer, QUICK)[call])
        assert isinstance(raised, Transient)
        for thread in threads_of_associations():
            thread.join(LIMIT)
        assert threads_of_associations() == []


@pytest.mark.parametrize("call", [0, 1])
def test_endless_data_fills_no_memory(call: int) -> None:
    with raw_peer(endless_data) as peer:
        tracemalloc.start()
        try:
            (raised,) = ends(calls(peer, QUICK)[call])
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert isinstance(raised, Transient)
        assert peak < 48 * 1024**2


def test_all_that_have_a_deadline_can_be_ended_at_once() -> None:
    reached = threading.Event()

    def held(peer: RawPeer) -> None:
        peer.connection.sendall(peer.accept())
        peer.pdu()
        reached.set()
        peer.connection.sendall(struct.pack(">BxL", 4, 1000) + b"x")
        peer.gone.wait(LIMIT)

    def end() -> None:
        assert reached.wait(LIMIT)
        hang_up()

    with raw_peer(held) as peer:
        ender = threading.Thread(target=end)
        ender.start()
        (raised,) = ends(calls(peer, LONG)[0])
        ender.join(LIMIT)
    assert isinstance(raised, Transient)


def test_a_connection_that_is_met_is_left_alone() -> None:
    ours, theirs = socket.socketpair()
    watch = LineWatch(None)
    try:
        watch.know(ours)
        watch.expect("something", 0.3)
        watch.met("something")
        watch.expect("all", 0.6)
        theirs.settimeout(LIMIT)
        assert theirs.recv(1) == b""  # the second deadline ends it
        assert watch.expired
    finally:
        watch.close()
        ours.close()
        theirs.close()


@pytest.mark.parametrize("behaviour", [silence, half_a_message, a_trickle, endless_data])
def test_a_release_ends_whatever_the_peer_answers(behaviour: Behaviour) -> None:
    with raw_peer(behaviour) as peer:
        opened = associate(peer, "RADLOOP", [(STORAGE_COMMITMENT, ())], QUICK)
        ends(lambda: release(opened))
        assert not opened.dul.is_alive()


def test_an_abandoned_association_ends() -> None:
    with raw_peer(half_a_message) as peer:
        opened = associate(peer, "RADLOOP", [(STORAGE_COMMITMENT, ())], QUICK)
        abandon(opened)
        opened.dul.join(LIMIT)
        assert not opened.dul.is_alive()
