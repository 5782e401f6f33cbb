"""Patients after merges: a pure function of what was said about identities, never of arrival.

Events are taken in the order of their own times (R7). A merge makes the prior identity part of the
surviving one; an un-merge takes that back as if it had never been said. What cannot be trusted
suspends the patients concerned until a person has looked: a merge that is reversed within a day,
one identity that was merged into two patients, a merge of people whose birth dates and sexes or
names differ, an update that turns a record into somebody else's, an identifier that was moved.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable

from dicom_node.linking.identifiers import Identifier
from dicom_node.linking.identity_fold import (
    REASONS,
    Event,
    Fold,
    Remark,
    Suspension,
    order,
    root_of,
)


class Identities:
    """Who is one patient with whom, after all events, and whose links are suspended.

    Args:
        events: in any order, duplicates included; those of one component are enough.
        reviewed: digests (:meth:`digest`) of suspensions that a person looked at and let stand.
    """

    __slots__ = ("_forward", "_members", "_reviewed", "_suspended", "remarks", "standing")

    def __init__(self, events: Iterable[Event], reviewed: Collection[str] = ()) -> None:
        # Each once: an un-merge that is sent again must not take back something else.
        fold = Fold(sorted(set(events), key=order))
        self._forward = fold.forward
        self._reviewed = reviewed
        self._suspended: dict[Identifier, set[Suspension]] = {}
        for each in fold.suspensions:
            for identifier in each.identifiers:
                self._suspended.setdefault(identifier, set()).add(each)
        self._members: dict[Identifier, set[Identifier]] | None = None
        self.standing: tuple[Event, ...] = tuple(fold.standing)
        self.remarks: tuple[Remark, ...] = tuple(dict.fromkeys(fold.remarks))

    def surviving(self, identifier: Identifier) -> Identifier:
        """Return the identity that an identifier belongs to now; itself where nothing was said."""
        return root_of(self._forward, identifier)

    def same(self, identifier: Identifier) -> frozenset[Identifier]:
        """Return all identifiers of the patient, the given one included."""
        if self._members is None:
            self._members = {}
            for prior in self._forward:
                root = root_of(self._forward, prior)
                self._members.setdefault(root, {root}).add(prior)
        root = root_of(self._forward, identifier)
        return frozenset(self._members.get(root, (identifier,)))

    def suspensions(self, identifier: Identifier) -> tuple[Suspension, ...]:
        """Return every suspension of the patient, reviewed or not, in a stable order."""
        if not self._suspended:
            return ()
        found = (self._suspended.get(each, ()) for each in self.same(identifier))
        return tuple(sorted({each for some in found for each in some}))

    def digest(self, identifier: Identifier) -> str:
        """Return what a review of the patient must name: SHA-256 of all suspensions, or nothing."""
        found = self.suspensions(identifier)
        return hashlib.sha256(repr(found).encode()).hexdigest() if found else ""

    def suspended(self, identifier: Identifier) -> str:
        """Return why the links of the patient are suspended; empty where they are not."""
        if not self._suspended:
            return ""
        found = self.suspensions(identifier)
        if not found or self.digest(identifier) in self._reviewed:
            return ""
        return "; ".join(dict.fromkeys(REASONS[each.kind] for each in found))
