"""Reports that rest on predictions of ours: a model must not learn what a model said."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property

import sqlalchemy as sa
from sqlmodel import Session, col, func, select

from dicom_node.database import chunks
from dicom_node.documents.models import DicomDocument
from dicom_node.hl7.times import comparable
from dicom_node.models import Message, Report, Transmission
from dicom_node.reports.models import ReportInput
from dicom_node.sr.content import RESEARCH_TITLE
from training.manifest import text_digest
from training.models import CohortMember, Model, Prediction

CITES = "report cites a prediction of ours"
CAME_AFTER = "report cites a prediction of ours: it came after one was delivered"

# What a structured report of ours says first, and the fixed shape of its summary
# (dicom_node.sr.content), in whatever spaces, dashes and case a reader's system copies them.
_SENTENCES = (
    r"research use only\W{1,5}not for diagnosis",
    r"computed by an algorithm,? not verified by a physician",
    r"(?:nothing )?above threshold[:.]",
    r"(?:below threshold|not evaluated): \d+ of \d+",
    r"ai research: (?:\d+ ?(?:of|/) ?\d+|no data)",
)
_FIXED = re.compile(rf"(?<!\w)(?:{'|'.join(_SENTENCES)})", re.IGNORECASE)
_UID = re.compile(r"(?<![\d.])\d+(?:\.\d+){2,}(?![\d])")
_TIME = "%Y%m%d%H%M%S%f"  # of comparable texts, in UTC


@dataclass(frozen=True)
class OwnNames:
    """By what our structured reports are known when somebody quotes them.

    Args:
        uids: SOP Instance UIDs of structured reports, and Device UIDs of models.
        models: names of models in the registry.
        devices: names under which this node signs.
    """

    uids: frozenset[str]
    models: frozenset[str]
    devices: frozenset[str]

    def cited_in(self, text: str) -> bool:
        """Tell whether a text quotes a UID, our document title, a model or a device of ours.

        What our reports say in fixed words counts as well: their warning and their summary.

        A model whose name is a plain word ("spine") counts beside the word "model" or with its
        version alone, or every report on a spine would count.
        """
        if any(uid in self.uids for uid in _UID.findall(text)):
            return True
        said = " ".join(text.split())
        return bool(_FIXED.search(said) or self._pattern.search(said))

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        said = [_spaced(RESEARCH_TITLE.meaning), *map(_spaced, sorted(filter(None, self.devices)))]
        for name in sorted(filter(None, self.models)):
            word = _spaced(name)
            if name.isalpha():
                said += [
                    rf"{word}:\d+",
                    rf"{word},? (?:version|v) ?\.?\d+",
                    rf"model:? \"?{word}",
                    rf"{word} model",
                ]
            else:
                said.append(word)
        return re.compile(rf"(?<!\w)(?:{'|'.join(said)})(?!\w)", re.IGNORECASE)


def _spaced(name: str) -> str:
    return r"\s+".join(map(re.escape, name.split()))


def own_names(session: Session, devices: Iterable[str] = ()) -> OwnNames:
    """Return by what this node's structured reports are known."""
    uids = {
        *session.exec(select(Transmission.sop_instance_uid).distinct()),
        *session.exec(select(Prediction.sop_instance_uid).distinct()),
        *session.exec(select(Model.device_uid)),
    }
    models = frozenset(session.exec(select(Model.name).distinct()))
    return OwnNames(frozenset(uids - {""}), models, frozenset(devices))


@dataclass(frozen=True)
class ReadReport:
    """What matters of a member's report: the digest of its text, and whether it rests on ours."""

    text_sha256: str
    fault: str  # CITES, CAME_AFTER or empty


def read_reports(
    session: Session,
    members: Collection[CohortMember],
    names: OwnNames,
    *,
    after_delivery: bool,
) -> dict[int, ReadReport]:
    """Read the reports of members, by id.

    Args:
        session: any session.
        members: drafted members.
        names: of :func:`own_names`.
        after_delivery: whether a report counts that came after a prediction of ours was delivered
            for the study. An imported report came when its sender says, others when we received
            this version.
    """
    study_of = {each.report_id: each.study_instance_uid for each in members if each.report_id}
    delivered = _delivered(session) if after_delivery else {}
    found = {}
    for part in chunks(sorted(study_of)):
        reports = session.exec(select(Report).where(col(Report.id).in_(part))).all()
        citing = _citing(session, {report.report_identity for report in reports})
        for report in reports:
            cites = report.report_identity in citing or names.cited_in(report.text)
            fault = CITES if cites else ""
            key = report.id or 0
            if not fault and _came(report) > delivered.get(study_of[key], _NEVER):
                fault = CAME_AFTER
            found[key] = ReadReport(text_digest(report.text), fault)
    return found


_NEVER = "9" * 20


def _citing(session: Session, chains: Collection[str]) -> set[str]:
    """Return the reports of which a version came as a structured report that names one of ours."""
    found = set()
    for names in chunks(sorted(chains)):
        rows = session.exec(
            select(ReportInput.report_identity, DicomDocument.refers_to)
            .join(Message, col(Message.id) == col(ReportInput.message_id))
            .join(DicomDocument, col(DicomDocument.digest) == col(Message.peer))
            .where(col(ReportInput.report_identity).in_(names))
        )
        found |= {chain for chain, refers_to in rows if refers_to}
    return found


def _delivered(session: Session) -> dict[str, str]:
    """Return when the first prediction of ours was delivered for each study, comparable."""
    rows = session.execute(
        sa.select(col(Transmission.study_instance_uid), func.min(col(Transmission.delivered_at)))
        .where(col(Transmission.delivered_at).is_not(None))
        .group_by(col(Transmission.study_instance_uid))
    )
    return {uid: f"{moment:{_TIME}}" for uid, moment in rows}


def _came(report: Report) -> str:
    said = comparable(report.status_changed_at) or comparable(report.message_time)
    return said if report.history and said else f"{report.received_at:{_TIME}}"
