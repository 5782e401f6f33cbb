"""Questions to the reports: which hold now."""

from __future__ import annotations

from sqlmodel import Session, col, select

from dicom_node.models import Report
from dicom_node.reports.status import WITHOUT_TEXT


def current_reports(session: Session) -> list[Report]:
    """Return the current version of each report that has text, in order of arrival."""
    return list(
        session.exec(
            select(Report)
            .where(
                col(Report.is_current),
                col(Report.result_status).not_in(WITHOUT_TEXT),
                Report.text != "",
            )
            .order_by(col(Report.id))
        )
    )
