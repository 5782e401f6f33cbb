"""Which readings of a labeler are judged: those that are stored, or new ones of a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlmodel import Session

from labeling.standing import Configuration, thresholds_of
from labeling.thresholds import Thresholds
from plugin.context import Progress
from plugin.errors import Permanent
from plugin.settings import Settings
from plugin.stages.basis import Use, chosen
from plugin.stages.ground import ground_of
from plugin.stages.judged import Judged, fresh_readings, stored_readings
from plugin.stages.labelled import LabelledReports, ReferenceReport, file_reports, labelled_on_node


@dataclass(frozen=True)
class Wanted:
    """What to judge.

    Args:
        labeler: entry-point name.
        reports: a file of reports whose ids readers labelled (level "file"); None: the node's.
        encoding: of that file.
        now: the node's reports are read now, for their margins alone, and not taken as stored.
        use: which readers' labels count.
        purpose: what refuses those that do not, for its sentence.
    """

    labeler: str
    reports: Path | None = None
    encoding: str = "utf-8-sig"
    now: bool = False
    use: Use = Use.FIGURES
    purpose: str = ""

    def to(self, purpose: str) -> Wanted:
        """Return the same for labels that calibrate or gate, unless a person accepted others."""
        use = self.use if self.use is Use.ALL else Use.GATE
        return replace(self, use=use, purpose=purpose)


def wanted_of(arguments: dict[str, Any]) -> Wanted:
    """Return what a command asks for."""
    file = arguments.get("reports")
    encoding = arguments.get("encoding") or "utf-8-sig"
    now = bool(arguments.get("now"))
    use = Use.ALL if arguments.get("accept_unsampled") else Use.FIGURES
    return Wanted(arguments["labeler"], Path(file) if file else None, encoding, now, use)


Read = Callable[[], AbstractContextManager[Session]]
"""Opens a session for reading; none stays open while a labeler reads."""


def judged_of(read: Read, settings: Settings, wanted: Wanted, progress: Progress) -> Judged:
    """Return the labeler's stored readings, or read the file's reports now, or the node's.

    Raises:
        Permanent: the settings do not allow the labeler, or nothing can be judged.
    """
    if wanted.reports is not None or wanted.now:
        return read_now(read, settings, wanted, progress, evidence=not wanted.now)
    check_allowed(settings, wanted.labeler)
    with read() as session:
        return stored_readings(session, settings, wanted.labeler, wanted.use, wanted.purpose)


def read_now(
    read: Read,
    settings: Settings,
    wanted: Wanted,
    progress: Progress,
    *,
    most: int = 0,
    evidence: bool = True,
) -> Judged:
    """Let the labeler read the reports that readers labelled, of the file or of the node.

    Args:
        read, settings: of the node.
        wanted: which labeler, and which reports.
        progress: takes lines while reports are read.
        most: so many of the reports, of all lengths, the longest among them; 0: all.
        evidence: whether the words that carry a label are sought.

    Raises:
        Permanent: the settings do not allow the labeler, or nothing can be judged.
    """
    check_allowed(settings, wanted.labeler)
    with read() as session:
        reports = chosen(reports_of(session, settings, wanted), wanted.use, wanted.purpose)
    if most:
        reports = reports._replace(reports=_of_all_lengths(reports.reports, most))

    def thresholds_for(configuration: Configuration) -> Thresholds:
        with read() as session:
            return thresholds_of(session, configuration)

    return fresh_readings(
        settings, wanted.labeler, reports, progress, thresholds_for, evidence=evidence
    )


def _of_all_lengths(reports: Sequence[ReferenceReport], count: int) -> list[ReferenceReport]:
    """Return so many reports evenly from the shortest to the longest; the middle one is first."""
    ordered = sorted(reports, key=lambda each: len(each.text))
    if count >= len(ordered):
        return ordered
    last = len(ordered) - 1
    places = {round(number * last / max(count - 1, 1)) for number in range(count)}
    chosen = [ordered[place] for place in sorted(places)]
    middle = chosen.pop(len(chosen) // 2)
    return [middle, *chosen]


def reports_of(session: Session, settings: Settings, wanted: Wanted) -> LabelledReports:
    """Return the reports that readers labelled, of the file or of the node.

    Raises:
        Permanent: there are none.
    """
    if wanted.reports is None:
        found = labelled_on_node(session, ground_of(settings).name_of)
        where = "of the node (level report)"
    else:
        found = file_reports(session, wanted.reports, wanted.encoding)
        where = "of this file (level file)"
    if not found.reports:
        several = f"; {found.ambiguous} numbers stand for several patients" * bool(found.ambiguous)
        raise Permanent(
            f"readers have labelled no report {where}{several}: radloop reference import first"
        )
    return found


def check_allowed(settings: Settings, labeler: str) -> None:
    """Refuse a labeler that the settings do not name.

    Raises:
        Permanent: it stands not in labeling.labelers.
    """
    if labeler not in settings.labeling.labelers:
        known = ", ".join(settings.labeling.labelers)
        raise Permanent(f"labeler {labeler!r} is not in the settings (labeling.labelers: {known})")
