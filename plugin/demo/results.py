"""What the demonstration leaves to look at: rendered reports, ROC curves, a study's picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlmodel import Session, col, select

from dicom_node.storage import DicomStore
from labeling.schema_file import schema_of
from plugin.context import open_for_reading
from plugin.demo.pictures import draw_roc, draw_study
from plugin.reporting import render_file
from plugin.settings import Settings
from training.discs import locate_discs
from training.models import Prediction
from training.picture import mid_sagittal_image, on_image
from training.pixels import read_volume
from training.series import analysed_digests, series_rule


def render_reports(reports: Sequence[Mapping[str, Any]], folder: Path) -> int:
    """Render every structured report as text and HTML into ``folder``; return how many."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, report in enumerate(reports, start=1):
        path = Path(report["file"])
        for ending, as_html in (("txt", False), ("html", True)):
            target = folder / f"report-{number:02d}.{ending}"
            target.write_text(render_file(path, as_html=as_html), encoding="utf-8")
    return len(reports)


def render_study(settings: Settings, observations: Mapping[str, Any], folder: Path) -> None:
    """Draw the ROC curves, and the predicted study with the most findings above threshold."""
    folder.mkdir(parents=True, exist_ok=True)
    draw_roc(observations, folder / "roc.png")
    store = DicomStore(settings.data_folder)
    with open_for_reading(settings) as session:
        rows = [] if session is None else _richest(session)
        if session is None or not rows:
            return
        files = _files(session, store, settings, rows[0].study_instance_uid)
    volume = read_volume(files)
    locations = locate_discs(volume)
    image, _ = mid_sagittal_image(volume, locations)
    places = on_image(volume, locations)
    draw_study(
        image,
        {site: (row, column) for site, (row, column, _) in places.items()},
        [each.model_dump() for each in rows],
        {each.id: each.name for each in schema_of(settings.labeling).observations},
        folder / "study.png",
    )


def _richest(session: Session) -> list[Prediction]:
    """Return the predictions of the study with the most sites at or above the threshold."""
    by_study: dict[str, list[Prediction]] = {}
    for row in session.exec(select(Prediction).order_by(col(Prediction.id))):
        by_study.setdefault(row.study_instance_uid, []).append(row)
    return max(by_study.values(), key=_above, default=[])


def _above(rows: list[Prediction]) -> int:
    return sum(
        row.probability is not None
        and row.threshold is not None
        and row.probability >= row.threshold
        for row in rows
    )


def _files(session: Session, store: DicomStore, settings: Settings, study: str) -> list[Path]:
    for rule in settings.prediction:
        digests = analysed_digests(session, study, series_rule(rule))
        if digests:
            return [store.path(digest) for digest in digests]
    return []
