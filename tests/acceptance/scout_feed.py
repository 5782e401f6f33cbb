"""A profile learned from a real sender's sample, held against the sample's own files.

    python -m tests.acceptance.scout_feed [FOLDER]

The profile is learned as ``radloop feed learn`` learns it and accepted; the messages are filed as a
node files them; then text, status, accession number and patient id of each report are compared with
what an oracle reads from the files. The oracle knows this one feed and nothing of the product: it
splits bytes and follows the two forms of message that the feed has. To see what a profile is worth
on messages that it was not learned from, half of the sample is held out as well.

Prints a table and ends with one line of JSON; exit status 1 where less than 99 % is right.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlmodel import Session, SQLModel, col, select

from dicom_node.database import Database, utc_now
from dicom_node.feeds.acceptance import accept
from dicom_node.feeds.learning import learn
from dicom_node.feeds.profile import FeedProfile
from dicom_node.feeds.registry import Profiles, read_profile
from dicom_node.feeds.sample import split_message
from dicom_node.feeds.writing import write_proposal
from dicom_node.linking.links import Linking
from dicom_node.messages import receive
from dicom_node.models import Message, Report
from dicom_node.settings import Hl7Settings

SHARED = Path(os.environ.get("RADLOOP_SHARED", Path(__file__).parents[2].parent / "shared"))
FEED = SHARED / "data" / "hl7" / "scout_synthetic_rad"
NEEDED = 0.99

# The words of this feed; "Wet Read" is a first look that somebody else will report.
_STATUSES = {"F": "F", "P": "P", "Final": "F", "Prelim": "P", "Wet Read": "P"}
_TEXT = ("ST", "TX", "FT")
_ESCAPES = {"\\F\\": "|", "\\S\\": "^", "\\T\\": "&", "\\R\\": "~", "\\E\\": "\\"}


@dataclass(frozen=True)
class Expected:
    """What one message of the feed says, as its file has it."""

    control_id: str
    accession: str
    patient_ids: frozenset[tuple[str, str]]
    status: str
    text: tuple[str, ...]  # lines, without trailing blanks
    raw: bytes  # the message as a listener receives it

    @property
    def is_good(self) -> bool:
        """Whether it is a report: some have no line of text, or no status."""
        return bool(self.text and self.status)


@dataclass(frozen=True)
class Score:
    """How many good reports were right in each value."""

    good: int
    text: int
    status: int
    accession: int
    patient_id: int
    whole: int  # right in all four

    @property
    def passed(self) -> bool:
        """Whether each value is right in enough of them."""
        values = (self.text, self.status, self.accession, self.patient_id, self.whole)
        return self.good > 0 and all(each >= NEEDED * self.good for each in values)


def expected_of(folder: Path) -> Iterator[Expected]:
    """Read the feed's log files: messages between <SB> and <EB>, segments ending in <R>."""
    for path in sorted(folder.rglob("*.log")):
        for frame in re.findall(rb"<SB>(.*?)<EB>", path.read_bytes(), re.DOTALL):
            lines = [each.strip(b"\r\n") for each in frame.split(b"<R>")]
            yield _expected([each for each in lines if each])


def _expected(lines: Sequence[bytes]) -> Expected:
    segments = [line.decode("utf-8").split("|") for line in lines]
    by_name = {each[0]: each for each in reversed(segments)}
    observations = [each for each in segments if each[0] == "OBX" and each[2] in _TEXT]
    obr = by_name["OBR"]
    word = obr[25] if len(obr) > 25 and obr[25] else ""
    words = {each[11] for each in observations} | ({word} if word else set())
    identifiers = (each.split("^") for each in by_name["PID"][3].split("~"))
    text = [_plain(line).rstrip() for each in observations for line in each[5].split("~")]
    return Expected(
        control_id=by_name["MSH"][9],
        accession=obr[3],
        patient_ids=frozenset((each[0], each[3]) for each in identifiers),
        status=_STATUSES[words.pop()] if len(words) == 1 else "",
        text=tuple(text) if any(text) else (),
        raw=b"\r".join(lines) + b"\r",
    )


def _plain(text: str) -> str:
    """Undo the escapes of delimiters (HL7 2.5.1 section 2.7), the only ones that the feed has."""
    return re.sub(r"\\[FSTRE]\\", lambda match: _ESCAPES[match[0]], text)


def learned(messages: Iterable[Expected]) -> FeedProfile:
    """Learn a profile, write it as a person would see it, and read that again."""
    sampled = [split_message(each.raw) for each in messages]
    return read_profile(write_proposal(learn(sampled[0].envelope.sender, sampled)))


def score(profile: FeedProfile, messages: Sequence[Expected]) -> Score:
    """File the messages under an accepted profile and compare what the node then holds."""
    with tempfile.TemporaryDirectory() as scratch:
        database = Database(f"sqlite:///{scratch}/node.sqlite")
        try:
            SQLModel.metadata.create_all(database.engine)
            feeds = Path(scratch) / "feeds"
            accept(database, feeds, utc_now, profile, by="test", reason="learned")
            profiles = Profiles(Hl7Settings(), feeds)
            contents = [each.raw for each in messages]
            linking = Linking(profiles=profiles)
            receive(database, *contents, profiles=profiles, linking=linking, clock=utc_now)
            with database.read() as session:
                return _compare(session, [each for each in messages if each.is_good])
        finally:
            database.close()


def _compare(session: Session, good: Sequence[Expected]) -> Score:
    rows = session.exec(
        select(Message.message_control_id, Report)
        .join(Report, col(Report.message_id) == col(Message.id))
        .order_by(col(Report.id))
    )
    found = dict(rows.all())
    right = [_judge(each, found.get(each.control_id)) for each in good]
    return Score(len(good), *(sum(each[i] for each in right) for i in range(5)))


def _judge(expected: Expected, report: Report | None) -> tuple[bool, bool, bool, bool, bool]:
    if report is None:
        return (False,) * 5
    lines = tuple(line.rstrip() for line in report.text.splitlines())
    patients = frozenset((each["value"], each["issuer"]) for each in report.patient_identifiers)
    values = (
        lines == expected.text,
        report.result_status == expected.status,
        report.accession_number == expected.accession,
        patients == expected.patient_ids,
    )
    return *values, all(values)


def halves(messages: Sequence[Expected]) -> tuple[list[Expected], list[Expected]]:
    """Split the sample by the order of its files: one half is learned from, one held out."""
    return list(messages[::2]), list(messages[1::2])


def run(folder: Path = FEED) -> dict[str, dict[str, int]]:
    """Return the scores: on the whole sample, on a half that was held out, and without learning."""
    messages = list(expected_of(folder))
    sender = split_message(messages[0].raw).envelope.sender
    one, other = halves(messages)
    scores = {
        "learned from all": score(learned(messages), messages),
        "learned from half, other half": score(learned(one), other),
        "learned from 20, the rest": score(learned(messages[::14]), messages),
        "without a profile": score(FeedProfile(sender=sender), messages),
    }
    print(f"{len(messages)} messages of {sender}")
    print(f"{'':32}{'good':>6}{'text':>6}{'status':>8}{'accession':>11}{'patient':>9}{'all':>6}")
    for name, each in scores.items():
        print(
            f"{name:32}{each.good:6}{each.text:6}{each.status:8}{each.accession:11}"
            f"{each.patient_id:9}{each.whole:6}"
        )
    return {name: {**vars(each), "passed": each.passed} for name, each in scores.items()}


def main() -> int:
    """Run from the command line."""
    logging.getLogger("dicom_node").setLevel(logging.ERROR)
    found = run(Path(sys.argv[1]) if len(sys.argv) > 1 else FEED)
    print(json.dumps(found))
    return 0 if found["learned from all"]["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
