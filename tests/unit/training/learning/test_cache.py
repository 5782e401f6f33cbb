"""Prepared inputs are made once, found again, checked, and bounded."""

import os
from pathlib import Path

import numpy as np
import pytest

from training.learning.cache import InputCache, empty, key_of


def keys(count: int) -> list[str]:
    return [key_of([str(number)], "form") for number in range(count)]


class Maker:
    """Prepares arrays of a kilobyte, and counts."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> np.ndarray:
        self.calls += 1
        return np.full((4, 64), self.calls, dtype=np.float32)


def test_a_key_is_of_the_files_and_the_form_not_of_their_order() -> None:
    assert key_of(["a", "b"], "f") == key_of(["b", "a"], "f")
    assert len({key_of(["a", "b"], "f"), key_of(["a"], "f"), key_of(["a", "b"], "g")}) == 3


def test_an_input_is_made_once_and_mapped_from_then_on(tmp_path: Path) -> None:
    make, key = Maker(), keys(1)[0]
    first = InputCache(tmp_path / "cache", 10**6).get(key, make)
    again = InputCache(tmp_path / "cache", 10**6)
    found = again.get(key, make)
    assert make.calls == 1
    assert isinstance(found, np.memmap)
    assert not found.flags.writeable
    assert np.array_equal(first, found)
    assert (again.figures.found, again.figures.made) == (1, 0)
    (entry,) = (tmp_path / "cache").iterdir()
    assert entry.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_entry_is_found_and_made_anew(tmp_path: Path, damage: str) -> None:
    make, key = Maker(), keys(1)[0]
    InputCache(tmp_path, 10**6).get(key, make)
    (entry,) = tmp_path.iterdir()
    content = bytearray(entry.read_bytes())
    if damage == "flip":
        content[-3] ^= 1
    entry.write_bytes(
        b"" if damage == "empty" else bytes(content[: None if damage == "flip" else 99])
    )
    cache = InputCache(tmp_path, 10**6)
    assert np.array_equal(cache.get(key, make), np.full((4, 64), 2.0))
    assert (cache.figures.damaged, cache.figures.made) == (1, 1)
    assert np.array_equal(InputCache(tmp_path, 10**6).get(key, make), np.full((4, 64), 2.0))


def test_what_was_used_longest_ago_gives_way(tmp_path: Path) -> None:
    make = Maker()
    first, second, third = keys(3)
    for age, key in ((300, first), (200, second)):
        InputCache(tmp_path, 10**6).get(key, make)
        (entry,) = tmp_path.glob(f"{key}.*")
        os.utime(entry, (1e9 - age, 1e9 - age))
    InputCache(tmp_path, 10**6).get(first, make)  # used again: younger than the second
    size = entry.stat().st_size
    cache = InputCache(tmp_path, 2 * size)
    cache.get(third, make)
    assert cache.figures.evicted == 1
    assert not list(tmp_path.glob(f"{second}.*"))
    assert sum(each.stat().st_size for each in tmp_path.iterdir()) <= 2 * size


def test_what_is_in_use_stays_and_the_rest_is_held_in_memory(tmp_path: Path) -> None:
    make = Maker()
    one, two = keys(2)
    size = len(np.full((4, 64), 1, np.float32).tobytes()) + 128
    cache = InputCache(tmp_path, size)
    mapped, held = cache.get(one, make), cache.get(two, make)
    assert isinstance(mapped, np.memmap)
    assert not isinstance(held, np.memmap)
    assert (cache.figures.held, cache.figures.held_bytes) == (1, 1024)
    assert [each.name[:64] for each in tmp_path.iterdir()] == [one]
    assert empty(tmp_path) == 1
    assert not list(tmp_path.iterdir())
