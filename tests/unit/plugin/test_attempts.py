"""Attempts at storage commitment: one for each peer, none beside an erasure, never an old name."""

import threading

import pytest

from plugin.attempts import Attempts

SECONDS = 60.0


def test_one_attempt_for_each_peer_is_queued_at_a_time() -> None:
    attempts = Attempts()
    first = attempts.queue("request", 1, "A")
    assert first
    assert attempts.queue("request", 1, "A") == attempts.queue("request", 2, "A") == ""
    assert attempts.queue("request", 3, "B")
    with attempts.running("request", 1) as going:
        assert going
        assert attempts.queue("request", 2, "A") == ""
    assert attempts.queue("request", 1, "A") not in ("", first)


def test_names_of_another_process_are_others() -> None:
    assert Attempts().queue("request", 1, "A") != Attempts().queue("request", 1, "A")


def test_what_the_queue_lost_is_queued_again_and_what_failed_waits() -> None:
    now = [0.0]
    attempts = Attempts(lambda: now[0])
    assert attempts.queue("request", 1, "A")
    now[0] = 4000.0
    assert attempts.queue("request", 1, "A")
    with pytest.raises(RuntimeError), attempts.running("request", 1):
        raise RuntimeError
    assert attempts.queue("request", 1, "A") == ""
    now[0] += 61.0
    assert attempts.queue("request", 1, "A")


def test_closing_waits_for_what_runs_and_lets_nothing_begin() -> None:
    attempts = Attempts()
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def attempt() -> None:
        with attempts.running("request", 1):
            begun.set()
            may_end.wait(SECONDS)
            ended.set()

    running = threading.Thread(target=attempt)
    running.start()
    assert begun.wait(SECONDS)
    found: list[bool] = []
    closing = threading.Thread(target=lambda: (attempts.close(), found.append(ended.is_set())))
    closing.start()
    may_end.set()
    closing.join(SECONDS)
    running.join(SECONDS)
    assert found == [True]
    with attempts.running("request", 2) as going:
        assert not going
    attempts.reopen()
    with attempts.running("request", 2) as going:
        assert going
