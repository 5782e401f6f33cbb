"""What every attack has at hand: the target, how hard to press, and the harmless bystander."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.acceptance.hostile.bystander import Bystander
from tests.acceptance.hostile.objects import EXPLICIT, MR, Sample
from tests.acceptance.hostile.observe import MIB, Peak, watch_memory
from tests.acceptance.hostile.targets import Target
from tests.raw_dicom import RawAssociation

NOT_SENT = -1
_ENDS = (0x03, 0x07)  # A-ASSOCIATE-RJ, A-ABORT
_ANSWER_SECONDS = 8.0
_WAITED_SECONDS = 60.0


@dataclass(frozen=True)
class Scale:
    """How much of everything.

    Attributes:
        names: hostile names of D1.
        pairs: pairs of D2 and D3.
        pump_bytes: pushed behind a length that lies (D4).
        object_bytes: of the endless object of D5.
        object_cap: limit that is set where the target has such a setting; None for its default.
        crowd: stalled sockets of D6, and held-open associations.
        watch_seconds: how long stalled sockets are watched.
        probes: C-ECHOs during D6.
        associations: of D7.
        cap_search: associations that are opened at once to find the limit.
        lies: cases of D10.
        depths: of the sequences of D9.
        bomb_bytes: what the deflate bomb becomes.
    """

    names: int
    pairs: int
    pump_bytes: int
    object_bytes: int
    object_cap: int | None
    crowd: int
    watch_seconds: float
    probes: int
    associations: int
    cap_search: int
    lies: int
    depths: tuple[int, ...]
    bomb_bytes: int


SHORT = Scale(
    names=60, pairs=5, pump_bytes=16 * MIB, object_bytes=64 * MIB, object_cap=32 * MIB, crowd=60,
    watch_seconds=14.0, probes=20, associations=120, cap_search=700, lies=40,
    depths=(10, 100, 10_000, 100_000), bomb_bytes=64 * MIB,
)  # fmt: skip
DEFAULT = Scale(
    names=500, pairs=100, pump_bytes=64 * MIB, object_bytes=256 * MIB, object_cap=128 * MIB,
    crowd=200, watch_seconds=45.0, probes=100, associations=1_000, cap_search=700, lies=200,
    depths=(10, 100, 10_000, 100_000), bomb_bytes=512 * MIB,
)  # fmt: skip
FULL = Scale(
    names=10_000, pairs=1_000, pump_bytes=256 * MIB, object_bytes=2304 * MIB, object_cap=None,
    crowd=200, watch_seconds=70.0, probes=300, associations=20_000, cap_search=1_500, lies=1_000,
    depths=(10, 100, 10_000, 100_000, 1_000_000), bomb_bytes=2048 * MIB,
)  # fmt: skip


class Stage:
    """One target under attack.

    Args:
        target: a running target.
        scale: how much of everything.
    """

    def __init__(self, target: Target, scale: Scale) -> None:
        self.target = target
        self.scale = scale
        self.bystander = Bystander(target)

    def sources(self, count: int, first: int = 2) -> list[str]:
        """Return loopback addresses to attack from; the bystander comes from 127.0.0.1."""
        if not self.target.host.startswith("127."):
            return [""]
        return [f"127.0.1.{first + number}" for number in range(count)]

    def associate(
        self,
        contexts: Sequence[tuple[str, str]] = ((MR, EXPLICIT),),
        *,
        calling: str | bytes = "HOSTILE",
        called: str | bytes = "",
        source: str | None = None,
        timeout: float = 15.0,
    ) -> RawAssociation:
        """Open an association as an attacker."""
        return RawAssociation(
            self.target.address,
            contexts,
            called=called or self.target.called,
            calling=calling,
            timeout=timeout,
            source=self.sources(1)[0] if source is None else source,
        )

    def store_all(
        self, objects: Sequence[Sample], syntax: str = EXPLICIT, abstract: str = MR
    ) -> list[int | None]:
        """Send objects, with a new association after each that ended one.

        Returns:
            The statuses in the order of the objects; None where no answer came, NOT_SENT for what
            was not tried after too many of those.
        """
        statuses: list[int | None] = []
        association: RawAssociation | None = None
        waited = 0.0
        for each in objects:
            if waited > _WAITED_SECONDS:
                statuses.append(NOT_SENT)
                continue
            start = time.monotonic()
            try:
                if association is None:
                    association = self.associate([(abstract, syntax)], timeout=_ANSWER_SECONDS)
                    if association.answer != 2 or association.accepted.get(1) != 0:
                        raise ConnectionError("not accepted")
                statuses.append(association.store(abstract, each.sop_instance, each.data))
            except OSError:
                statuses.append(None)
                waited += time.monotonic() - start
                if association is not None:
                    association.socket.close()
                association = None
        if association is not None:
            association.socket.close()
        return statuses

    @contextmanager
    def memory(self) -> Iterator[Peak]:
        """Watch the memory of the target while the block runs."""
        with watch_memory(self.target.pid) as peak:
            yield peak

    def kept(self) -> dict[str, int] | None:
        """Let the target finish and return the tokens on its disk, or None if that is unseen."""
        self.target.wait_until_settled()
        return self.target.kept()


def closed_after(association: RawAssociation, seconds: float) -> float | None:
    """Read until the peer ends it; return after how many seconds, or None if it did not.

    An A-ABORT or A-ASSOCIATE-RJ is an end too: the standard lets its sender wait for us to close.
    """
    start = time.monotonic()
    deadline = start + seconds
    try:
        while (left := deadline - time.monotonic()) > 0:
            association.socket.settimeout(left)
            data = association.socket.recv(65536)
            if not data or data[0] in _ENDS:
                return time.monotonic() - start
    except TimeoutError:
        return None
    except OSError:
        return time.monotonic() - start
    return None


def counted(statuses: Sequence[int | None]) -> str:
    """Return statuses with their numbers, the most frequent first."""
    words = {None: "no answer", NOT_SENT: "not sent"}
    names = [words.get(each) or f"0x{each:04X}" for each in statuses]
    ordered = sorted(set(names), key=lambda name: (-names.count(name), name))
    return ", ".join(f"{names.count(name)} x {name}" for name in ordered) or "none"


def mebibytes(size: int) -> str:
    """Return a size in MiB for a table."""
    return f"{size / MIB:.0f} MiB"
