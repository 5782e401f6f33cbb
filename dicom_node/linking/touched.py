"""What a change has touched, and must therefore be looked at again."""

from __future__ import annotations

from dataclasses import dataclass, field

from dicom_node.linking.identifiers import Identifier


@dataclass(slots=True)
class Touched:
    """Sets that grow while changes are written; afterwards everything in them is derived again."""

    chains: set[str] = field(default_factory=set)  # report identities
    reports: set[int] = field(default_factory=set)  # report versions, current or not
    studies: set[str] = field(default_factory=set)  # Study Instance UIDs
    patients: set[Identifier] = field(default_factory=set)
    order_numbers: set[str] = field(default_factory=set)  # placer and filler order numbers

    def __ior__(self, other: Touched) -> Touched:
        self.chains |= other.chains
        self.reports |= other.reports
        self.studies |= other.studies
        self.patients |= other.patients
        self.order_numbers |= other.order_numbers
        return self
