"""Which architectures are installed, and one of them by its name."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from training.architectures.protocol import Architecture
from training.errors import Permanent
from training.learning.example import InputKind

GROUP = "radloop.architectures"


def names() -> list[str]:
    """Return the names that installed packages offer."""
    return sorted(entry_points(group=GROUP).names)


def load(name: str, input_shape: Sequence[int] = (), weights: Path | None = None) -> Architecture:
    """Load the architecture called ``name``, for inputs of a shape and with weights to begin with.

    An architecture that offers ``with_input_shape(shape)`` or ``with_weights(path)`` takes them;
    each returns an architecture.

    Args:
        name: of an entry point.
        input_shape: without channels; empty: the architecture's own.
        weights: local safetensors file to begin with; None: random weights.

    Raises:
        Permanent: nothing is installed under this name, it is no architecture, or it takes no
            other shape or no weights.
    """
    for entry_point in entry_points(group=GROUP, name=name):
        return _made(name, entry_point.load(), input_shape, weights)
    offered = ", ".join(names()) or "none"
    raise Permanent(f"no architecture is called {name!r}; installed: {offered}")


def load_for(name: str, input_shape: tuple[int, ...]) -> Architecture:
    """Load the architecture that takes inputs of a shape, given as ``Architecture.input_shape``.

    Raises:
        Permanent: as of ``load``.
    """
    found = load(name)
    if tuple(found.input_shape) == tuple(input_shape):
        return found
    has_channels = found.kind in (InputKind.IMAGE, InputKind.VOLUME)
    return load(name, input_shape[1:] if has_channels else input_shape)


def _made(name: str, found: Any, input_shape: Sequence[int], weights: Path | None) -> Architecture:
    if input_shape:
        if not hasattr(found, "with_input_shape"):
            raise Permanent(f"the architecture {name} has an input of one shape only")
        found = found.with_input_shape(tuple(input_shape))
    if weights is not None:
        if not hasattr(found, "with_weights"):
            raise Permanent(f"the architecture {name} takes no weights to begin with")
        found = found.with_weights(weights)
    if not isinstance(found, Architecture):
        raise Permanent(f"the entry point {name} is no architecture")
    return found
