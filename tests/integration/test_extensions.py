"""Our own linker, labelers, classifier and exporter enter through the door of strangers."""

from importlib.metadata import entry_points

import pytest

from plugin.errors import Permanent
from plugin.extensions import load, names


def test_every_extension_of_ours_loads() -> None:
    for group in ("linkers", "labelers", "disc_localisers", "classifiers", "exporters"):
        ours = {e.name for e in entry_points(group=f"radloop.{group}") if e.dist.name == "radloop"}
        assert ours
        assert ours <= set(names(group))
        for name in ours:
            assert load(group, name) is not None


def test_an_unknown_extension_is_refused_with_what_there_is() -> None:
    with pytest.raises(Permanent, match="rules, student, template, token_scores, tree"):
        load("labelers", "stranger")
