"""How many connections there may be, in all and of one address, and which of them gives way."""

from __future__ import annotations

from collections import Counter
from typing import Generic, Protocol, TypeVar

SPARED_SECONDS = 1.0
"""A connection that was heard of more recently does not give way."""


class Visitor(Protocol):
    """What counts of a connection here."""

    address: str

    def idle_since(self) -> float | None:
        """Return when it was last heard of; None while something of it is under way."""

    def close(self) -> None:
        """Close it."""


V = TypeVar("V", bound=Visitor)


class Doorkeeper(Generic[V]):
    """Counts connections; a new one takes the place of the one that was silent longest.

    Who is silent holds no place against who has something to send, and one address cannot take
    the places of others: at its own limit only its own connections give way, and when all places
    are taken one of the address that has most of them does.

    Args:
        maximum: connections in all.
        per_address: connections of one address.
    """

    def __init__(self, maximum: int, per_address: int) -> None:
        self._maximum = maximum
        self._per_address = per_address
        self._visitors: dict[int, V] = {}
        self._count: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._visitors)

    def all(self) -> list[V]:
        """Return all that are there."""
        return list(self._visitors.values())

    def admit(self, visitor: V, now: float) -> bool:
        """Count a connection; tell whether there is a place for it."""
        address = visitor.address
        if self._count[address] >= self._per_address:
            has_place = self._make_room(address, now)
        elif len(self._visitors) >= self._maximum:
            has_place = self._make_room(self._count.most_common(1)[0][0], now)
        else:
            has_place = True
        if has_place:
            self._visitors[id(visitor)] = visitor
            self._count[address] += 1
        elif not self._count[address]:
            del self._count[address]
        return has_place

    def left(self, visitor: V) -> None:
        """A connection has ended; harmless where it is not counted any more."""
        if self._visitors.pop(id(visitor), None) is None:
            return
        self._count[visitor.address] -= 1
        if not self._count[visitor.address]:
            del self._count[visitor.address]

    def _make_room(self, address: str, now: float) -> bool:
        """Close the connection of an address that was silent longest, if one was long enough."""
        silent = [
            (since, number, each)
            for number, each in enumerate(self._visitors.values())
            if each.address == address and (since := each.idle_since()) is not None
        ]
        if not silent or now - min(silent)[0] < SPARED_SECONDS:
            return False
        visitor = min(silent)[2]
        visitor.close()
        self.left(visitor)
        return True
