"""Pictures that are one picture are near, others are far; borders and noise do not matter."""

import numpy as np
import pytest

from training.fingerprints import BITS, MOST_DIFFERENT_BITS, fingerprint, near_pairs


def picture(seed, rows=120, columns=90):
    """Return smooth random structure, as anatomy has it."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=(12, 12))
    y, x = np.linspace(0, 11, rows), np.linspace(0, 11, columns)
    across = np.stack([np.interp(x, np.arange(12), row) for row in coarse])
    return 500 + 100 * np.stack([np.interp(y, np.arange(12), each) for each in across.T], axis=1)


def near(one, other):
    return list(near_pairs([fingerprint(one), fingerprint(other)]))


CHANGES = {
    "brighter": lambda p: p * 3 + 7,
    "in a border": lambda p: np.pad(p, ((0, 0), (30, 50)), constant_values=p.min() - 1),
    "in two borders": lambda p: np.pad(np.pad(p, 9, constant_values=0), 20, constant_values=-5),
    "noisy": lambda p: p + np.random.default_rng(9).normal(0, 0.05 * np.ptp(p), p.shape),
    "every second pixel": lambda p: p[::2, ::2],
    "enlarged": lambda p: p.repeat(3, axis=0).repeat(3, axis=1),
    "cut short": lambda p: np.clip(p, *np.percentile(p, [2, 98])),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_picture_is_found_again(change):
    [(first, second, distance)] = near(picture(1), change(picture(1)))
    assert (first, second) == (0, 1)
    assert distance <= MOST_DIFFERENT_BITS


def test_other_pictures_are_far():
    many = [fingerprint(picture(seed)) for seed in range(60)]
    assert list(near_pairs(many)) == []
    [*pairs] = near_pairs(many, BITS)
    assert len(pairs) == 60 * 59 // 2


def test_a_mirror_and_a_negative_are_other_pictures():
    assert near(picture(1), picture(1)[:, ::-1]) == []
    assert near(picture(1), -picture(1)) == []


@pytest.mark.parametrize("empty", [np.zeros((9, 9)), np.ones((1, 50)), np.full((0, 4), 1.0)])
def test_a_picture_of_nothing_has_none(empty):
    assert fingerprint(empty) is None


def test_no_pictures_are_no_pairs():
    assert list(near_pairs([])) == []
