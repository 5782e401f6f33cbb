"""Every deadline by an invented clock, and bytes in and out over a pair of sockets."""

import socket
from collections.abc import Iterator

import pytest

from dicom_node.connection import Connection, Deadlines

LIMITS = Deadlines(
    first_pdu=10.0,
    pdu=8.0,
    idle=60.0,
    unread=40.0,
    linger=1.0,
    window=30.0,
    minimum_bytes_per_second=100,
    unread_bytes=1000,
)
START = 0.0  # a clock may well begin at zero


@pytest.fixture
def ends() -> Iterator[tuple[Connection, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    connection = Connection(ours, "127.0.0.1", LIMITS, START)
    yield connection, theirs
    connection.close()
    theirs.close()


@pytest.fixture
def connection(ends: tuple[Connection, socket.socket]) -> Connection:
    return ends[0]


@pytest.fixture
def established(connection: Connection) -> Connection:
    connection.established = True
    connection.progress(200, pdu=0, inside_message=False, now=START)
    return connection


def test_the_first_pdu_must_come_whole_whatever_trickles_in(connection: Connection) -> None:
    for second in range(10):
        connection.progress(1, pdu=1, inside_message=False, now=float(second))
        assert connection.late(float(second)) == ""
    assert connection.late(10.0) == ""
    assert connection.late(10.1) == "no association request in time"


def test_an_established_peer_may_be_silent_for_a_while(established: Connection) -> None:
    assert established.late(60.0) == ""
    assert established.late(60.1) == "silent for too long"
    established.progress(80, pdu=0, inside_message=False, now=59.0)
    assert established.late(119.0) == ""
    assert established.late(119.1) == "silent for too long"


def test_a_pdu_must_be_whole_in_time_and_drips_do_not_help(established: Connection) -> None:
    for tenth in range(80):
        established.progress(1, pdu=1, inside_message=True, now=tenth / 10)
    assert established.late(8.0) == ""
    assert established.late(8.1) == "a PDU was not whole in time"


def test_a_clock_that_begins_at_zero_counts_as_well(established: Connection) -> None:
    established.progress(1, pdu=1, inside_message=False, now=0.0)
    established.progress(1, pdu=1, inside_message=False, now=7.0)
    assert established.late(8.1) == "a PDU was not whole in time"


def test_each_pdu_of_a_long_message_has_its_own_time(established: Connection) -> None:
    """A sender that never pauses always has an unfinished PDU, and each time another one."""
    for second in range(100):
        established.progress(50_000, pdu=second + 1, inside_message=True, now=float(second))
        assert established.late(second + 0.9) == ""


def test_the_time_of_a_pdu_ends_with_it(established: Connection) -> None:
    established.progress(10, pdu=1, inside_message=False, now=5.0)
    established.progress(10, pdu=0, inside_message=False, now=6.0)
    assert established.late(20.0) == ""


def test_a_message_must_reach_its_rate_in_each_window(established: Connection) -> None:
    established.progress(10, pdu=1, inside_message=True, now=START)
    for second in range(1, 30):
        established.progress(110, pdu=second, inside_message=True, now=float(second))
        assert established.late(float(second)) == ""
    established.progress(110, pdu=30, inside_message=True, now=30.0)
    assert established.late(30.0) == ""
    # A second window, in which it only drips.
    for second in range(31, 61):
        established.progress(90, pdu=second, inside_message=True, now=float(second))
        assert established.late(second - 0.01) == ""
    assert established.late(60.0) == "a message is too slow"


def test_a_first_byte_and_then_silence_is_too_slow(established: Connection) -> None:
    established.progress(1, pdu=0, inside_message=True, now=START)
    assert established.late(29.9) == ""
    assert established.late(30.0) == "a message is too slow"


def test_between_messages_no_rate_is_asked_for(established: Connection) -> None:
    established.progress(1, pdu=0, inside_message=True, now=START)
    established.progress(1, pdu=0, inside_message=False, now=1.0)
    assert established.late(59.0) == ""


def test_who_is_kept_waiting_by_us_is_not_late(established: Connection) -> None:
    established.progress(10, pdu=3, inside_message=False, now=5.0)
    established.paused = True
    assert established.late(1000.0) == ""
    established.paused = False
    established.resumed(1000.0)
    assert established.late(1008.0) == ""
    assert established.late(1008.1) == "a PDU was not whole in time"
    established.progress(10, pdu=0, inside_message=False, now=1001.0)
    assert established.late(1061.0) == ""
    assert established.late(1061.1) == "silent for too long"


def test_the_end_is_awaited_for_a_moment_in_every_state(connection: Connection) -> None:
    assert not connection.closing
    connection.end(50.0)
    connection.end(60.0)  # a second end changes nothing
    assert connection.closing
    assert connection.late(51.0) == ""
    assert connection.late(51.1) == "does not close"
    connection.established = connection.paused = True
    assert connection.late(51.1) == "does not close"


def _fill(connection: Connection, now: float) -> int:
    """Write until the peer's socket takes no more; return how much was taken."""
    connection.stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    written = 0
    while not connection.wants_to_write:
        connection.write(b"x" * 500, now)
        written += 500
    return written


def test_answers_must_be_taken_in_time(established: Connection) -> None:
    _fill(established, now=10.0)
    established.progress(10, pdu=0, inside_message=False, now=49.0)
    assert established.late(50.0) == ""
    assert established.late(50.1) == "does not read its answers"
    established.paused = True
    assert established.late(50.1) == "does not read its answers"


def test_a_peer_that_takes_something_gets_more_time(
    ends: tuple[Connection, socket.socket],
) -> None:
    connection, theirs = ends
    connection.established = True
    _fill(connection, now=10.0)
    while connection.wants_to_write:
        theirs.recv(65536)
        connection.flush(49.0)
    connection.progress(10, pdu=0, inside_message=False, now=49.0)
    assert connection.late(60.0) == ""


def test_a_peer_that_lets_answers_pile_up_is_cut_off_at_once(established: Connection) -> None:
    """Requests can come faster than anybody needs to read, and each has an answer."""
    _fill(established, now=10.0)
    established.write(b"y" * 400, 10.0)
    assert established.late(10.0) == ""
    established.write(b"y" * 600, 10.0)
    assert established.late(10.0) == "does not read its answers"


def test_bytes_arrive_in_order_however_slowly_the_peer_reads(
    ends: tuple[Connection, socket.socket],
) -> None:
    connection, theirs = ends
    written = _fill(connection, now=0.0)
    connection.write(b"the end", 0.0)
    got = bytearray()
    while len(got) < written + 7:
        got += theirs.recv(1000)
        connection.flush(1.0)
    assert bytes(got) == b"x" * written + b"the end"
    assert not connection.wants_to_write


def test_reading_tells_nothing_there_bytes_and_the_end_apart(
    ends: tuple[Connection, socket.socket],
) -> None:
    connection, theirs = ends
    buffer = memoryview(bytearray(16))
    assert connection.read_into(buffer) is None
    theirs.sendall(b"abc")
    assert connection.read_into(buffer) == 3
    assert bytes(buffer[:3]) == b"abc"
    assert not connection.has_more()
    theirs.close()
    assert connection.read_into(buffer) == 0


def test_a_broken_connection_is_an_os_error(ends: tuple[Connection, socket.socket]) -> None:
    connection, theirs = ends
    theirs.close()
    with pytest.raises(OSError, match="pipe"):
        connection.write(b"x", 0.0)


def test_without_tls_there_is_no_certificate_and_no_handshake(connection: Connection) -> None:
    assert connection.certificate == b""
    assert not connection.shaking_hands
    connection.shake_hands()
    assert not connection.shaking_hands
