"""Which process should accept, seen by all of them through shared memory."""

import os
from collections.abc import Iterator

import pytest

from dicom_node.balance import Balance, new_balance


@pytest.fixture
def descriptor() -> Iterator[int]:
    made = new_balance(3)
    yield made
    os.close(made)


def test_who_holds_the_fewest_is_lightest(descriptor: int) -> None:
    first, second, third = (Balance(descriptor, slot) for slot in range(3))
    for balance, count in ((first, 2), (second, 1), (third, 3)):
        balance.publish(count)
    assert [each.is_lightest() for each in (first, second, third)] == [False, True, False]
    second.publish(2)
    assert [each.is_lightest() for each in (first, second, third)] == [True, True, False]


def test_nobody_waits_for_a_process_that_is_not_there(descriptor: int) -> None:
    first, second = Balance(descriptor, 0), Balance(descriptor, 1)
    first.publish(1000)
    assert first.is_lightest()
    second.publish(0)
    assert not first.is_lightest()
    second.leave()
    assert first.is_lightest()
    assert not second.is_lightest()


def test_a_process_in_the_place_of_another_goes_on_with_its_slot(descriptor: int) -> None:
    first, second = Balance(descriptor, 0), Balance(descriptor, 1)
    first.publish(1)
    second.publish(5)
    successor = Balance(descriptor, 1)
    successor.leave()
    assert first.is_lightest()
    successor.publish(0)
    assert successor.is_lightest()


def test_a_child_sees_the_counts_of_its_parent(descriptor: int) -> None:
    mine = Balance(descriptor, 0)
    mine.publish(7)
    child = os.fork()
    if not child:
        theirs = Balance(descriptor, 1)
        theirs.publish(3)
        os._exit(0 if theirs.is_lightest() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not mine.is_lightest()


def test_alone_is_always_lightest() -> None:
    descriptor = new_balance(1)
    alone = Balance(descriptor, 0)
    alone.publish(500)
    assert alone.is_lightest()
    os.close(descriptor)
