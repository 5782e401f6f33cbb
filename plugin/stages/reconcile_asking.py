"""Asking an archive about many studies, one after the other, though it fails with some.

Where it stays behind, the next round begins behind the last study that was asked about, so that
studies on which an archive always fails do not keep the others from being compared.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from dicom_node.durable import write_durably
from dicom_node.errors import Permanent, Transient
from dicom_node.retrieval.archive import Archive, Away, Stopped
from dicom_node.retrieval.comparing import Compared
from dicom_node.retrieval.finding import Finder, finder

_MOST_UNANSWERED = 10
_NAME_BYTES = 8
_PLACE_DIGITS = 4

Hint = dict[str, str]
"""A ``study_instance_uid`` and a ``hint`` about it, for people."""


@dataclass
class Outcome:
    """What came of asking about studies.

    Attributes:
        found: what could be compared.
        unclear: what the archive refused to answer, or cannot be asked.
        unanswered: what it did not answer to the end; it may be asked again.
        failure: why the rest was not asked about; None: nothing is left.
        last: the study that was asked about last; empty: none.
    """

    found: list[Compared] = field(default_factory=list)
    unclear: list[Hint] = field(default_factory=list)
    unanswered: list[Hint] = field(default_factory=list)
    failure: Exception | None = None
    last: str = ""

    @property
    def settled(self) -> set[str]:
        """The studies that need not be asked about again."""
        return {each.study_instance_uid for each in self.found} | {
            each["study_instance_uid"] for each in self.unclear
        }


def ask_about(
    archive: Archive,
    studies: Iterable[str],
    compare: Callable[[Finder, str], Compared | None],
    progress: Callable[[int], None],
) -> Outcome:
    """Compare studies in order; each has the archive's ``total_seconds``.

    The round ends where the archive is away, refuses us, or fails with ten studies.

    Args:
        archive: whom to ask.
        studies: Study Instance UIDs.
        compare: asks about one study; None: it is not here any more.
        progress: takes how many were asked about.
    """
    rest = deque(studies)
    outcome = Outcome()
    done = 0
    while rest and outcome.failure is None:
        try:
            with finder(archive) as asked:
                while rest:
                    outcome.last = rest[0]
                    asked.begin()
                    _one(outcome, asked, rest[0], compare)
                    rest.popleft()
                    progress(done := done + 1)
                    if not asked.is_open:
                        break  # no fault of the next study
        except (Stopped, Away, Permanent) as error:
            outcome.failure = error
        except Transient as error:
            # The association may have ended with it: the next study is asked about over another.
            hint = f"it could not be compared: {error}"
            outcome.unanswered.append({"study_instance_uid": rest.popleft(), "hint": hint})
            if len(outcome.unanswered) >= _MOST_UNANSWERED:
                outcome.failure = error
    return outcome


def _one(
    outcome: Outcome,
    asked: Finder,
    uid: str,
    compare: Callable[[Finder, str], Compared | None],
) -> None:
    try:
        compared = compare(asked, uid)
    except Permanent as error:
        # What could not be asked is no difference, and does not end an earlier one.
        outcome.unclear.append({"study_instance_uid": uid, "hint": str(error)})
    else:
        outcome.found += [] if compared is None else [compared]


class Place:
    """Where the next round with an archive begins; kept in a file that names no study.

    Studies stand in the order of a digest of their UIDs. Its first sixteen bits are kept.

    Args:
        folder: where the file lies.
        peer: the archive's name in the settings.
    """

    def __init__(self, folder: Path, peer: str) -> None:
        name = hashlib.sha256(peer.encode()).hexdigest()[: 2 * _NAME_BYTES]
        self._path = folder / f"compared_{name}"

    def in_order(self, studies: Iterable[str]) -> list[str]:
        """Return studies in the order in which they are asked about."""
        begin = self._kept()
        return sorted(
            studies, key=lambda uid: (_digest(uid)[:_PLACE_DIGITS] <= begin, _digest(uid))
        )

    def keep(self, outcome: Outcome) -> None:
        """Have the next round begin behind the last study where this one did not end."""
        if outcome.failure is None:
            self._path.unlink(missing_ok=True)
        elif outcome.last:
            write_durably(self._path, _digest(outcome.last)[:_PLACE_DIGITS].encode())

    def _kept(self) -> str:
        try:
            text = self._path.read_text(encoding="ascii")
        except (OSError, ValueError):
            return ""
        return text if len(text) == _PLACE_DIGITS else ""


def _digest(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()
