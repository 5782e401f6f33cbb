"""What a labeler measured beside what readers say: from stored labels, or read afresh."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlmodel import Session, col, select

from dicom_node.database import chunks
from dicom_node.deletion import salted_key
from labeling.decision import measured
from labeling.evaluation.cases import Case, Reference, locate_quote
from labeling.evaluation.qualification import Effort
from labeling.labeler import LabelResult, checked
from labeling.models import Label, LabelingRun
from labeling.runs import result_of_label
from labeling.schema_file import schema_of
from labeling.standing import Configuration, configuration_of, newest_run, thresholds_with
from labeling.thresholds import UNCALIBRATED, Thresholds, nowhere
from labeling.vocabulary import LabelSchema
from plugin.child import ChildProcess
from plugin.context import Progress
from plugin.errors import Permanent
from plugin.folders import DataFolder
from plugin.labeler_child import LabelerChild
from plugin.rate import Rate
from plugin.settings import Settings
from plugin.stages.basis import AGREEMENT, REFERENCE, UNSAMPLED, Use, chosen
from plugin.stages.ground import ground_of
from plugin.stages.labelled import LabelledReports, ReferenceReport, labelled_on_node

_JOB = 32


@dataclass(frozen=True)
class Judged:
    """A labeler's measurements beside readers' labels.

    Args:
        configuration: what read.
        calibration_digest: of the thresholds that decided the stored labels; empty: none.
        model_name: for people.
        schema: of the labels.
        cases: one a report, as the labeler measured them.
        reports: the readers' side of the same reports, by the name of the case.
        sought: the thresholds under which it read, and so looked for evidence.
        effort: what reading cost, where the reports were read now.
        texts: salted keys of the texts, by which the same report is known again elsewhere.
        ambiguous: accession numbers that readers labelled and that stand for several patients.
        unread: reports that readers labelled and of which no labels are stored.
        sampled: whether every readers' label here was sampled, blinded and adjudicated.
        left_out: readers' labels that were not, and are not here.
    """

    configuration: Configuration
    calibration_digest: str
    model_name: str
    schema: LabelSchema
    cases: tuple[Case, ...]
    reports: Mapping[str, ReferenceReport]
    sought: Thresholds = UNCALIBRATED
    effort: Effort | None = None
    texts: frozenset[str] = frozenset()
    ambiguous: int = 0
    unread: int = 0
    sampled: bool = False
    left_out: int = 0

    @property
    def called(self) -> str:
        """What figures that rest on these labels are called."""
        return REFERENCE if self.sampled else AGREEMENT

    @property
    def rests_on(self) -> dict[str, list[str]]:
        """For records: what a person had to accept of the readers' labels, and their samples."""
        labels = (each for report in self.reports.values() for each in report.labels.values())
        samples = {each.sample for each in labels} - {""}
        return {"accepted": [] if self.sampled else [UNSAMPLED], "samples": sorted(samples)}

    @property
    def label_ids(self) -> list[int]:
        """Rows of the reference labels that are used."""
        labels = (each for report in self.reports.values() for each in report.labels.values())
        return sorted({row for each in labels for row in each.ids})

    @property
    def reference_digest(self) -> str:
        """SHA-256 over the readers' labels: subjects, places and states."""
        lines = sorted(
            f"{name}\t{observation}\t{site}\t{label.state}\t{label.severity}"
            for name, report in self.reports.items()
            for (observation, site), label in report.labels.items()
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def stored_readings(
    session: Session,
    settings: Settings,
    labeler: str,
    use: Use = Use.FIGURES,
    purpose: str = "",
) -> Judged:
    """Return what the newest run of a labeler has stored of the reports that readers labelled.

    Args:
        session, settings: of the node.
        labeler: entry-point name.
        use, purpose: which readers' labels count (``plugin.stages.basis.chosen``).

    Raises:
        Permanent: readers have labelled no report, the labeler has read none of those, or the
            labels are to gate and none deserves it.
    """
    schema = schema_of(settings.labeling)
    ground = ground_of(settings)
    labelled = chosen(labelled_on_node(session, ground.name_of), use, purpose)
    reports = {each.row: each for each in labelled.reports}
    run = newest_run(session, labeler, schema.digest)
    results = {} if run is None else results_of(session, run, reports)
    if run is None or not results:
        raise Permanent(
            f"labeler {labeler!r} has read no report that a reader has labelled "
            f"under schema {schema.name!r}: radloop label --labeler {labeler} first"
        )
    found = {reports[row].name: reports[row] for row in results}
    cases = tuple(case_of(reports[row], each) for row, each in results.items())
    of = configuration_of(run)
    return Judged(
        configuration=of,
        calibration_digest=run.calibration_digest,
        model_name=run.model_name,
        schema=schema,
        cases=cases,
        reports=found,
        sought=thresholds_with(session, run.calibration_digest),
        texts=text_keys(found.values(), ground.salt),
        ambiguous=labelled.ambiguous,
        unread=len(reports) - len(results),
        sampled=labelled.sampled,
        left_out=labelled.left_out,
    )


def results_of(
    session: Session, run: LabelingRun, reports: Iterable[int]
) -> dict[int, list[LabelResult]]:
    """Return what a run has stored, decided as it was, of those of these reports that it read."""
    results: dict[int, list[LabelResult]] = {}
    for batch in chunks(reports):
        rows = select(Label).where(Label.run_id == run.id, col(Label.report_id).in_(batch))
        for label in session.exec(rows.order_by(col(Label.id))):
            results.setdefault(label.report_id, []).append(result_of_label(label))
    return results


def fresh_readings(
    settings: Settings,
    labeler: str,
    labelled: LabelledReports,
    progress: Progress,
    thresholds_for: Callable[[Configuration], Thresholds],
    *,
    evidence: bool = True,
) -> Judged:
    """Let a labeler read reports in a child process, timed; nothing is stored.

    The first report is not timed: with it the model is loaded.

    Args:
        settings, labeler: what reads.
        labelled: what is read.
        progress: takes lines as it goes.
        thresholds_for: gives the thresholds that hold for a configuration: the labeler looks for
            evidence where a label would count.
        evidence: whether it looks for any; without it, margins are all that is read.

    Raises:
        Permanent: the labeler cannot be loaded, or there is no report.
        ChildFailed: the child died, for example for want of memory.
    """
    reports = labelled.reports
    if not reports:
        raise Permanent("readers have labelled none of these reports")
    schema = schema_of(settings.labeling)
    folder = DataFolder(settings.data_folder)
    with ChildProcess(folder.child_log, settings.labeling.language_model.threads) as child:
        reader = LabelerChild(child, labeler, settings.labeling, folder.language_models)
        identity = reader.identify(progress)
        configuration = Configuration(
            labeler, schema.digest, identity.model_digest, identity.prompt_digest
        )
        thresholds = thresholds_for(configuration)
        reader.heed(thresholds)
        if not evidence:
            reader.spare_evidence()
        rate = Rate(labeler, len(reports), progress, time.monotonic)
        cases, seconds = _read_timed(reader, reports, schema, rate, progress)
        (peak,) = child.run("peak_memory", {}, progress)
    return Judged(
        configuration=configuration,
        calibration_digest=thresholds.digest,
        model_name=identity.model_name,
        schema=schema,
        cases=tuple(cases),
        reports={each.name: each for each in reports},
        sought=thresholds if evidence or _shows_spans(cases) else nowhere(schema),
        effort=Effort(max(len(reports) - 1, 0), seconds, peak),
        texts=text_keys(reports, ground_of(settings).salt),
        ambiguous=labelled.ambiguous,
        sampled=labelled.sampled,
        left_out=labelled.left_out,
    )


def _read_timed(
    reader: LabelerChild,
    reports: Sequence[ReferenceReport],
    schema: LabelSchema,
    rate: Rate,
    progress: Progress,
) -> tuple[list[Case], float]:
    """Return a case for each report, and the seconds that all but the first took."""
    cases: list[Case] = []
    seconds = 0.0
    for chunk in (reports[:1], *_chunks(reports[1:])):
        began = time.monotonic()
        texts = [(place, each.text) for place, each in enumerate(chunk)]
        for place, results in reader.read(texts, progress):
            report = chunk[place]
            cases.append(case_of(report, checked(results, schema, report.text)))
            rate.done()
        seconds += time.monotonic() - began if len(cases) > 1 else 0.0
    return cases, seconds


def _shows_spans(cases: Iterable[Case]) -> bool:
    """Tell whether the labeler looked for evidence all the same: most find it as they read."""
    return any(result.evidence for case in cases for result in case.results)


def text_keys(reports: Iterable[ReferenceReport], salt: bytes) -> frozenset[str]:
    """Return keys that say whether two texts are one, whatever their blanks and case."""
    return frozenset(salted_key(" ".join(each.text.casefold().split()), salt) for each in reports)


def case_of(report: ReferenceReport, results: Iterable[LabelResult]) -> Case:
    """Return a report's measurements beside its readers' labels; disagreement is no reference."""
    references = {
        place: Reference(
            label.state,
            label.severity,
            tuple(span for quote in label.quotes for span in locate_quote(report.text, quote)),
            label.weight,
            label.stratum,
        )
        for place, label in report.labels.items()
        if label.state is not None
    }
    return Case(report.name, report.patient, tuple(map(measured, results)), references)


def _chunks(reports: Sequence[ReferenceReport]) -> Iterable[Sequence[ReferenceReport]]:
    for start in range(0, len(reports), _JOB):
        yield reports[start : start + _JOB]
