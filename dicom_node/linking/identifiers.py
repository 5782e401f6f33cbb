"""Identifiers with the authority that issued them, and which names mean one authority.

A bare identifier says little: two hospitals give the same number to two people. The key is issuer
and identifier together (R1). An issuer that only the configuration assumes is never the same as
one that a message or object declares, unless the settings say so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Identifier:
    """A patient id or accession number and its issuer (HL7 CX.4 or EI.2; DICOM (0010,0021))."""

    value: str
    issuer: str = ""
    issuer_assumed: bool = False

    @property
    def qualified(self) -> bool:
        """Whether both identifier and issuer are known."""
        return bool(self.value and self.issuer)

    def trusted(self, issuers: Collection[str]) -> Identifier:
        """Return the identifier with its assumed issuer counted as declared, where trusted."""
        if self.issuer_assumed and self.issuer in issuers:
            return Identifier(self.value, self.issuer)
        return self


NOBODY = Identifier("")
"""The identifier of somebody or something that was not identified."""


def same_issuer(one: Identifier, other: Identifier) -> bool:
    """Tell whether both issuers are known, equal, and known in the same way."""
    return (
        bool(one.issuer)
        and one.issuer == other.issuer
        and one.issuer_assumed == other.issuer_assumed
    )


class Issuers:
    """Which names mean one issuer, and whose assumed issuer counts as a declared one (R1).

    Args:
        equivalences: groups of names of one issuer; the others are turned into the first. Groups
            that share a name are one.
        trusted: issuers that count as declared where the settings assume them, by any name.
        general: what holds besides, for example for all feeds where these are those of one feed;
            a name that both know is turned by ``equivalences`` first.
    """

    __slots__ = ("_trusted", "_turned")

    def __init__(
        self,
        equivalences: Iterable[Sequence[str]] = (),
        trusted: Iterable[str] = (),
        general: Issuers | None = None,
    ) -> None:
        turned: dict[str, str] = {}
        for names in equivalences:
            group = [name for name in names if name]  # an unknown issuer equals nobody's
            roots = {_root(turned, name) for name in group}
            first = _root(turned, group[0]) if group else ""
            turned.update((root, first) for root in roots if root != first)
        own = {name: _root(turned, name) for name in turned}
        self._turned: dict[str, str] = dict(general._turned) if general else {}
        if general:
            own = {name: general._turned.get(root, root) for name, root in own.items()}
        self._turned.update(own)
        self._trusted = {self._turned.get(name, name) for name in trusted} - {""}
        if general:
            self._trusted |= general._trusted

    def normal(self, identifier: Identifier) -> Identifier:
        """Return the identifier under the one name of its issuer, declared where it is trusted."""
        issuer = self._turned.get(identifier.issuer, identifier.issuer)
        assumed = identifier.issuer_assumed and issuer not in self._trusted
        if issuer == identifier.issuer and assumed == identifier.issuer_assumed:
            return identifier
        return Identifier(identifier.value, issuer, assumed)


def _root(turned: dict[str, str], name: str) -> str:
    while name in turned:
        name = turned[name]
    return name
