"""The harmless modality that must be served before, during and after every attack."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.acceptance.hostile.objects import EXPLICIT, MR, Sample, sample
from tests.acceptance.hostile.targets import GOOD_TITLE, Target
from tests.raw_dicom import VERIFICATION, RawAssociation

_IMPLICIT = "1.2.840.10008.1.2"
_RECOVERY_SECONDS = 45.0


@dataclass
class Service:
    """How a bystander was served.

    Attributes:
        echoes: seconds from connection to the answer of each C-ECHO; infinite where none came.
        stores: whether each C-STORE was answered with Success.
    """

    echoes: list[float] = field(default_factory=list)
    stores: list[bool] = field(default_factory=list)

    @property
    def p99(self) -> float:
        """The 99th percentile of the echoes, in seconds."""
        ordered = sorted(self.echoes)
        return ordered[max(math.ceil(len(ordered) * 0.99) - 1, 0)] if ordered else math.inf

    @property
    def stored(self) -> str:
        """Stores that succeeded, of all."""
        return f"{sum(self.stores)}/{len(self.stores)}"


class Bystander:
    """Sends good objects and remembers which were acknowledged."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.acknowledged: list[Sample] = []

    def open(self, timeout: float = 30.0, called: str = "") -> RawAssociation:
        """Open an association for verification (context 1) and MR storage (context 3)."""
        contexts = [(VERIFICATION, _IMPLICIT), (MR, EXPLICIT)]
        return RawAssociation(
            self._target.address,
            contexts,
            called=called or self._target.called,
            calling=GOOD_TITLE,
            timeout=timeout,
        )

    def echo(self, timeout: float) -> float:
        """Return the seconds that connection, association and C-ECHO took, or infinity."""
        start = time.monotonic()
        try:
            with self.open(timeout) as association:
                if association.answer != 2 or association.echo() != 0:
                    return math.inf
                took = time.monotonic() - start
                association.release()
                return took
        except OSError:
            return math.inf

    def store(self, timeout: float = 30.0) -> bool:
        """Store a good object in an association of its own; tell whether it was acknowledged."""
        good = sample(patient=b"GOOD", name=b"Good^Patient")
        try:
            with self.open(timeout) as association:
                if association.answer != 2:
                    return False
                status = association.store(MR, good.sop_instance, good.data, context=3)
                if status == 0:
                    self.acknowledged.append(good)
                association.release()
                return status == 0
        except OSError:
            return False

    def observe(self, *, echoes: int, stores: int, seconds: float, timeout: float) -> Service:
        """Echo and store in turn, at most for ``seconds``."""
        served = Service()
        deadline = time.monotonic() + seconds
        every = max(echoes // max(stores, 1), 1)
        for number in range(echoes):
            if time.monotonic() > deadline:
                break
            served.echoes.append(self.echo(timeout))
            if number % every == 0:
                served.stores.append(self.store(timeout))
        return served

    def recovered(self) -> float:
        """Return after how many seconds echo and store work, or infinity."""
        start = time.monotonic()
        while (waited := time.monotonic() - start) < _RECOVERY_SECONDS:
            if self.echo(10.0) < math.inf and self.store(10.0):
                return waited
            time.sleep(0.2)
        return math.inf

    def missing(self, kept: dict[str, int]) -> Sequence[Sample]:
        """Return the acknowledged objects that are in no file."""
        return [each for each in self.acknowledged if each.token not in kept]
