"""Extension points: linkers, labelers, disc localisers and others come in by entry point.

radloop's own implementations go through the same door. Only a name that stands in the settings is
loaded, so that an installed package cannot start itself.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any, Literal

from plugin.errors import Permanent

Group = Literal["linkers", "labelers", "disc_localisers", "classifiers", "exporters"]


def names(group: Group) -> list[str]:
    """Return the names that installed packages offer for this group."""
    return sorted(entry_points(group=f"radloop.{group}").names)


def load(group: Group, name: str) -> Any:
    """Load the extension called ``name``.

    Raises:
        Permanent: no installed package offers it; the message lists what there is.
    """
    for entry_point in entry_points(group=f"radloop.{group}", name=name):
        return entry_point.load()
    offered = ", ".join(names(group)) or "none"
    raise Permanent(f"no {group[:-1].replace('_', ' ')} is called {name!r}; installed: {offered}")
