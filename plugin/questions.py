"""What commands read: questions to the tables, answered without changing anything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlmodel import Session, col, select

from dicom_node.database import utc_now
from dicom_node.models import Transmission
from dicom_node.storage import DicomStore
from plugin.context import open_for_reading, sandbox_of
from plugin.errors import Permanent
from plugin.extensions import names
from plugin.folders import DataFolder
from plugin.settings import Settings

Arguments = dict[str, Any]
Question = Callable[[Session, Settings, Arguments], dict[str, Any]]


def _labelers(_session: Session, settings: Settings, _arguments: Arguments) -> dict[str, Any]:
    return {"installed": names("labelers"), "allowed": list(settings.labeling.labelers)}


def _disagreements(session: Session, _settings: Settings, arguments: Arguments) -> dict[str, Any]:
    from labeling.disagreements import Which, differences, disputed_reports

    which = Which(
        labelers=tuple(arguments.get("labelers") or ()),
        observation=arguments.get("observation") or "",
        site=arguments.get("site") or "",
        state=arguments.get("state") or "",
    )
    names = ("report", "observation", "site", "labelers", "state", "other_state")
    return {
        "disagreements": [
            {
                "labelers": f"{each.labeler} / {each.other}",
                "observation": each.observation,
                "site": each.site,
                "states": f"{each.state} / {each.other_state}",
                "reports": each.reports,
            }
            for each in differences(session, which)
        ],
        "reports": [
            dict(zip(names, row, strict=True))
            for row in disputed_reports(session, arguments["limit"], which)
        ],
    }


def _agreement(session: Session, settings: Settings, _arguments: Arguments) -> dict[str, Any]:
    from plugin.stages.agreement import agreement_of_labelers

    return agreement_of_labelers(session, settings)


def _imports(session: Session, settings: Settings, _arguments: Arguments) -> dict[str, Any]:
    from plugin.stages.import_journal import list_imports

    return list_imports(session, DataFolder(settings.data_folder).root)


def _samples(session: Session, _settings: Settings, _arguments: Arguments) -> dict[str, Any]:
    from plugin.stages.samples import list_samples

    return list_samples(session)


def _worksheets(session: Session, _settings: Settings, arguments: Arguments) -> dict[str, Any]:
    from plugin.stages.samples import write_worksheets

    return write_worksheets(
        session,
        arguments["sample"],
        Path(arguments["output"]),
        with_text=arguments["with_text"],
        file=Path(arguments["reports"]) if arguments["reports"] else None,
        encoding=arguments["encoding"],
    )


def _reader_disagreements(
    session: Session, _settings: Settings, arguments: Arguments
) -> dict[str, Any]:
    from plugin.stages.samples import disagreements_of

    output = Path(arguments["output"]) if arguments["output"] else None
    return disagreements_of(session, arguments["sample"], output, arguments["limit"])


def _evaluation(session: Session, settings: Settings, arguments: Arguments) -> dict[str, Any]:
    from plugin.stages.evaluate import evaluate_labeler
    from plugin.stages.readings import wanted_of
    from plugin.tables import progress_line

    output = arguments["output"]
    with progress_line() as progress:
        return evaluate_labeler(
            session,
            settings,
            wanted_of(arguments),
            progress,
            folds=arguments["folds"],
            resamples=arguments["resamples"],
            errors=arguments["errors"],
            folder=Path(output) if output else None,
        )


def _comparison(session: Session, settings: Settings, arguments: Arguments) -> dict[str, Any]:
    from plugin.stages.evaluate import compare_labelers
    from plugin.stages.readings import wanted_of
    from plugin.tables import progress_line

    other = {**arguments, "labeler": arguments["other"]}
    with progress_line() as progress:
        return compare_labelers(
            session,
            settings,
            wanted_of(arguments),
            wanted_of(other),
            progress,
            folds=arguments["folds"],
            resamples=arguments["resamples"],
        )


def _cohort(session: Session, settings: Settings, arguments: Arguments) -> dict[str, Any]:
    from plugin.stages.cohort import newest_cohort
    from plugin.stages.cohort_summary import studies_of, summarise
    from plugin.stages.ground import ground_of

    cohort = newest_cohort(session, arguments["name"])
    found = summarise(session, cohort, ground_of(settings))
    return {**found, "studies": studies_of(session, cohort)} if arguments["studies"] else found


def _cohorts(session: Session, settings: Settings, _arguments: Arguments) -> dict[str, Any]:
    from plugin.stages.cohort_summary import list_cohorts
    from plugin.stages.ground import ground_of

    return {"cohorts": list_cohorts(session, ground_of(settings))}


def _verification(session: Session, settings: Settings, arguments: Arguments) -> dict[str, Any]:
    from plugin.stages.cohort_verify import verify_cohort
    from plugin.stages.ground import ground_of

    store = DicomStore(settings.data_folder)
    return verify_cohort(
        session,
        ground_of(settings),
        store,
        arguments["subject"],
        read_files=arguments["read_files"],
    )


def _exports(session: Session, settings: Settings, _arguments: Arguments) -> dict[str, Any]:
    from plugin.stages.export import list_exports
    from plugin.stages.ground import ground_of

    return list_exports(session, ground_of(settings))


def _impact(session: Session, settings: Settings, arguments: Arguments) -> dict[str, Any]:
    from plugin.stages.ground import ground_of
    from plugin.stages.impact_question import impact_of

    return impact_of(session, ground_of(settings), arguments["subject"], arguments["issuer"])


def _models(session: Session, _settings: Settings, _arguments: Arguments) -> dict[str, Any]:
    from plugin.stages.registry import list_models

    return list_models(session)


def _model_history(session: Session, _settings: Settings, arguments: Arguments) -> dict[str, Any]:
    from plugin.stages.registry import history_of

    return history_of(session, arguments["name"])


def _model_monitor(session: Session, settings: Settings, arguments: Arguments) -> dict[str, Any]:
    from plugin.stages.monitor import monitor_model

    return monitor_model(settings, session, arguments["model"], Path(arguments["output"]))


def _model_card(session: Session, settings: Settings, arguments: Arguments) -> dict[str, Any]:
    from plugin.stages.card import write_model_card

    return write_model_card(session, settings, arguments["model"], Path(arguments["folder"]))


def _reports(session: Session, settings: Settings, _arguments: Arguments) -> dict[str, Any]:
    root = DataFolder(settings.data_folder).root
    rows = session.exec(select(Transmission).order_by(col(Transmission.id)))
    return {
        "reports": [
            {
                "sop_instance_uid": row.sop_instance_uid,
                "state": row.state,
                "peer": row.peer,
                "attempts": row.attempts,
                "last_error": row.last_error,
                "file": str(root / row.path),
            }
            for row in rows
        ]
    }


def _language_models(
    _session: Session, settings: Settings, _arguments: Arguments
) -> dict[str, Any]:
    from labeling.llm.model_store import ModelStore
    from plugin.language_models import list_models

    return list_models(ModelStore(DataFolder(settings.data_folder).language_models))


def _links(session: Session, _settings: Settings, arguments: Arguments) -> dict[str, Any]:
    from plugin.stages.link import list_links

    return list_links(session, arguments.get("state") or "")


def _gaps(session: Session, settings: Settings, arguments: Arguments) -> dict[str, Any]:
    from plugin.stages.gaps import find_gaps
    from plugin.stages.ground import ground_of

    return find_gaps(session, arguments["since"], ground_of(settings).name_of)


def _explain(session: Session, _settings: Settings, arguments: Arguments) -> dict[str, Any]:
    from plugin.stages.link import explain_link

    return explain_link(session, arguments["what"])


def _patient(session: Session, settings: Settings, arguments: Arguments) -> dict[str, Any]:
    from dicom_node.linking.identifiers import Identifier
    from plugin.linking import linking_of, profiles_of
    from plugin.stages.patients import show_patient

    who = Identifier(arguments["patient_id"], arguments["issuer"], arguments["assumed"])
    profiles = profiles_of(settings, DataFolder(settings.data_folder))
    return show_patient(session, linking_of(settings, profiles), who)


def _backfill(session: Session, settings: Settings, arguments: Arguments) -> dict[str, Any]:
    from plugin.stages.backfill import show_backfill

    return show_backfill(session, settings, arguments["name"], utc_now())


def _backfills(session: Session, _settings: Settings, _arguments: Arguments) -> dict[str, Any]:
    from plugin.stages.backfill import list_backfills

    return list_backfills(session)


def _studies(session: Session, settings: Settings, _arguments: Arguments) -> dict[str, Any]:
    from plugin.stages.complete import list_studies

    store = DicomStore(settings.data_folder)
    return {"studies": list_studies(session, settings.dicom, store, utc_now())}


def _study(session: Session, settings: Settings, arguments: Arguments) -> dict[str, Any]:
    from plugin.stages.complete import show_study

    store = DicomStore(settings.data_folder)
    uid = arguments["study_instance_uid"]
    return show_study(session, settings.dicom, store, utc_now(), uid)


def _series(session: Session, settings: Settings, arguments: Arguments) -> dict[str, Any]:
    from plugin.stages.series import try_rule
    from plugin.tables import progress_line

    with progress_line() as progress:
        return try_rule(session, settings, arguments, progress)


def _what_expired(session: Session, settings: Settings, arguments: Arguments) -> dict[str, Any]:
    from plugin.stages.retain import what_expired

    salt = DataFolder(settings.data_folder).patient_key_salt()
    return what_expired(session, arguments["uid"], salt)


def _quarantine(session: Session, _settings: Settings, _arguments: Arguments) -> dict[str, Any]:
    from plugin.stages.quarantine import list_quarantined

    return list_quarantined(session)


def _documents(session: Session, _settings: Settings, arguments: Arguments) -> dict[str, Any]:
    from plugin.stages.document_decisions import list_documents

    return list_documents(session, arguments["kind"])


def _quarantined_object(
    session: Session, settings: Settings, arguments: Arguments
) -> dict[str, Any]:
    from plugin.stages.quarantine import show_quarantined

    with sandbox_of(settings) as sandbox:
        store = DicomStore(settings.data_folder)
        return show_quarantined(session, store, sandbox, arguments["digest"])


def _export_quarantined(
    session: Session, settings: Settings, arguments: Arguments
) -> dict[str, Any]:
    from plugin.stages.quarantine import export_quarantined

    store = DicomStore(settings.data_folder)
    target = Path(arguments["path"])
    return {"digest": export_quarantined(session, store, arguments["digest"], target)}


def _feeds(session: Session, settings: Settings, _arguments: Arguments) -> dict[str, Any]:
    from plugin.stages.feeds import list_feeds

    return list_feeds(session, settings)


def _feed(session: Session, settings: Settings, arguments: Arguments) -> dict[str, Any]:
    from plugin.stages.feeds import show_feed

    return show_feed(session, settings, arguments["sender"])


def _messages(session: Session, _settings: Settings, arguments: Arguments) -> dict[str, Any]:
    from plugin.stages.messages import list_messages, which_messages

    return list_messages(session, which_messages(arguments))


def _message(session: Session, _settings: Settings, arguments: Arguments) -> dict[str, Any]:
    from plugin.stages.messages import show_message

    return show_message(session, arguments["message"])


def _export_message(session: Session, _settings: Settings, arguments: Arguments) -> dict[str, Any]:
    from plugin.stages.messages import export_message

    return export_message(session, arguments["message"], Path(arguments["path"]))


def _plans(session: Session, _settings: Settings, _arguments: Arguments) -> dict[str, Any]:
    from plugin.stages.evaluation import list_plans

    return list_plans(session)


def _plan(session: Session, settings: Settings, arguments: Arguments) -> dict[str, Any]:
    from plugin.stages.evaluation import show_plan

    return show_plan(session, settings, arguments["name"], arguments["opening"])


def _audit(session: Session, settings: Settings, arguments: Arguments) -> dict[str, Any]:
    from plugin.stages.audit import audit_labels

    return audit_labels(session, settings, **arguments)


def _commitments(session: Session, _settings: Settings, _arguments: Arguments) -> dict[str, Any]:
    from dicom_node.commitment.queries import list_commitments

    return list_commitments(session)


QUESTIONS: dict[str, Question] = {
    "labelers": _labelers,
    "agreement": _agreement,
    "imports": _imports,
    "reference samples": _samples,
    "reference worksheets": _worksheets,
    "reference disagreements": _reader_disagreements,
    "evaluation": _evaluation,
    "comparison": _comparison,
    "disagreements": _disagreements,
    "cohort": _cohort,
    "cohorts": _cohorts,
    "cohort verify": _verification,
    "exports": _exports,
    "impact": _impact,
    "models": _models,
    "model card": _model_card,
    "model history": _model_history,
    "model monitor": _model_monitor,
    "reports": _reports,
    "commitments": _commitments,
    "language models": _language_models,
    "links": _links,
    "explain": _explain,
    "gaps": _gaps,
    "patient": _patient,
    "backfill": _backfill,
    "backfills": _backfills,
    "studies": _studies,
    "study": _study,
    "series": _series,
    "expired": _what_expired,
    "documents": _documents,
    "quarantine": _quarantine,
    "quarantined object": _quarantined_object,
    "export quarantined": _export_quarantined,
    "messages": _messages,
    "message": _message,
    "export message": _export_message,
    "feeds": _feeds,
    "feed": _feed,
    "evaluation list": _plans,
    "evaluation show": _plan,
    "evaluation audit": _audit,
}


def ask(settings: Settings, question: str, arguments: Arguments) -> dict[str, Any]:
    """Answer a question from the last commit; works whether or not the node runs.

    Raises:
        Permanent: nothing has been received yet.
    """
    with open_for_reading(settings) as session:
        if session is None:
            raise Permanent(f"{settings.data_folder} holds nothing yet: start the node first")
        return QUESTIONS[question](session, settings, arguments)
