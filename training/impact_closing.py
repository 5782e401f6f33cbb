"""Impact notes that stand open about a cohort, a model or a structured report, and their closing.

A note is open while it is the newest about its study and report, says "stale", and nobody closed
it. A change that comes later makes a new note, which is open again.
"""

from __future__ import annotations

from sqlmodel import Session

from dicom_node.database import Clock
from training.errors import Permanent
from training.impact import ERASURE, Artefact, notes_of
from training.impact_models import ImpactNote


def open_notes(session: Session, artefact: Artefact, artefact_id: int) -> list[ImpactNote]:
    """Return the notes about one artefact that nobody has closed and nothing has overtaken."""
    newest: dict[tuple[object, ...], ImpactNote] = {}
    for note in notes_of(session, artefact, artefact_id):
        about: tuple[object, ...] = (note.study_instance_uid, note.report_id)
        if note.cause == ERASURE:
            about = (ERASURE, note.source_id)  # each erasure is a change of its own
        newest[about] = note
    return [note for note in newest.values() if note.stale and not note.closed_by]


def close_note(
    session: Session, note_id: int, *, decided_by: str, reason: str, clock: Clock
) -> ImpactNote:
    """Record that a person looked at a note, and why it is no obstacle any more.

    Raises:
        Permanent: there is no such note, it is closed, it calls nothing stale, nobody decides or
            no reason is given.
    """
    if not decided_by.strip() or not reason.strip():
        raise Permanent("closing a note needs who decided and why")
    note = session.get(ImpactNote, note_id)
    if note is None:
        raise Permanent(f"there is no impact note {note_id}; radloop models history lists them")
    if not note.stale:
        raise Permanent(f"impact note {note_id} calls nothing stale: there is nothing to close")
    if note.closed_by:
        raise Permanent(f"impact note {note_id} was closed already, by {note.closed_by}")
    note.closed_by, note.closed_reason, note.closed_at = decided_by, reason, clock()
    session.add(note)
    session.flush()
    return note
