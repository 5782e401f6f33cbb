"""Commands that change something, by name; run in the node's process or, when it is down, here.

SQLite has one writer: while ``radloop serve`` runs, a command travels through its local socket;
when it is down, the command takes the folder's lock and runs in its own process.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from plugin import control
from plugin.context import Context, Progress, open_context
from plugin.errors import Permanent
from plugin.folders import DataFolder
from plugin.settings import Settings

Arguments = dict[str, Any]


def _label(context: Context, arguments: Arguments, progress: Progress) -> dict[str, Any]:
    from plugin.stages.label import label_reports

    return label_reports(context, arguments["labeler"], progress)


def _import_references(
    context: Context, arguments: Arguments, progress: Progress
) -> dict[str, Any]:
    from plugin.stages.reference import import_references

    return import_references(context, arguments["path"], arguments.get("sample") or "")


def _sample_references(
    context: Context, arguments: Arguments, progress: Progress
) -> dict[str, Any]:
    from plugin.stages.draw import draft_of, draw_sample

    return draw_sample(context, draft_of(arguments))


def _calibrate(context: Context, arguments: Arguments, progress: Progress) -> dict[str, Any]:
    from labeling.evaluation.calibration import FitRule
    from plugin.stages.calibrate import calibrate_labeler
    from plugin.stages.readings import wanted_of

    return calibrate_labeler(
        context,
        wanted_of(arguments),
        FitRule(**arguments["rule"]),
        progress,
        folds=arguments["folds"],
        by=arguments["by"],
        output=Path(arguments["output"]) if arguments["output"] else None,
    )


def _qualify(context: Context, arguments: Arguments, progress: Progress) -> dict[str, Any]:
    from labeling.evaluation.qualification import Criteria
    from plugin.stages.qualify import qualify_labeler
    from plugin.stages.readings import wanted_of

    return qualify_labeler(
        context,
        wanted_of(arguments),
        Criteria(**arguments["criteria"]),
        arguments["folds"],
        arguments["by"],
        progress,
        timed=arguments["timed"],
    )


def _freeze(context: Context, arguments: Arguments, progress: Progress) -> dict[str, Any]:
    from plugin.cohort_request import request_of
    from plugin.stages.cohort import freeze_cohort

    return freeze_cohort(
        context,
        arguments["name"],
        arguments["labeler"],
        arguments.get("accepted", ()),
        request_of(arguments.get("query", {})),
        progress,
        dry_run=arguments.get("dry_run", False),
    )


def _opt_out(context: Context, arguments: Arguments, progress: Progress) -> dict[str, Any]:
    from plugin.stages.opt_out import opt_out

    return opt_out(
        context,
        issuer=arguments["issuer"],
        patient_id=arguments["patient_id"],
        by=arguments["by"],
        reason=arguments["reason"],
        revoke=arguments["revoke"],
    )


def _export(context: Context, arguments: Arguments, progress: Progress) -> dict[str, Any]:
    from plugin.stages.export import export_cohort

    return export_cohort(
        context,
        arguments["name"],
        arguments["to"],
        arguments["formats"],
        arguments["options"],
        progress,
    )


def _close_export(context: Context, arguments: Arguments, _progress: Progress) -> dict[str, Any]:
    from plugin.stages.export_withdrawals import close_export

    return close_export(
        context, arguments["number"], by=arguments["by"], reason=arguments["reason"]
    )


def _train(context: Context, arguments: Arguments, progress: Progress) -> dict[str, Any]:
    from plugin.stages.train import train_model

    asked = (arguments["cohort"], arguments["name"])
    return train_model(context, *asked, progress, arguments.get("architecture", ""))


def _promote(context: Context, arguments: Arguments, progress: Progress) -> dict[str, Any]:
    from plugin.stages.registry import promote_model

    asked = (arguments["model"], arguments["by"], arguments["reason"])
    return promote_model(context, *asked, arguments.get("accept", ()))


def _silence(context: Context, arguments: Arguments, progress: Progress) -> dict[str, Any]:
    from plugin.stages.registry import silence_model

    return silence_model(context, arguments["model"], arguments["by"], arguments["reason"])


def _retire(context: Context, arguments: Arguments, progress: Progress) -> dict[str, Any]:
    from plugin.stages.registry import retire_model

    return retire_model(context, arguments["model"], arguments["by"], arguments["reason"])


def _rollback(context: Context, arguments: Arguments, progress: Progress) -> dict[str, Any]:
    from plugin.stages.registry import rollback_model

    asked = (arguments["name"], arguments["by"], arguments["reason"])
    return rollback_model(context, *asked, arguments.get("accept", ()))


def _close_note(context: Context, arguments: Arguments, progress: Progress) -> dict[str, Any]:
    from plugin.stages.registry import close_impact_note

    return close_impact_note(context, arguments["note"], arguments["by"], arguments["reason"])


def _predict(context: Context, arguments: Arguments, progress: Progress) -> dict[str, Any]:
    from plugin.stages.predict import predict_waiting

    return predict_waiting(context, progress, ignore_quiet_time=arguments["now"])


def _resend(context: Context, arguments: Arguments, progress: Progress) -> dict[str, Any]:
    from plugin.stages.send import queue_again

    return queue_again(context, arguments["sop_instance_uid"])


def _retry_commitment(context: Context, arguments: Arguments, progress: Progress) -> dict[str, Any]:
    from plugin.stages.inquiries import retry_commitment

    return retry_commitment(context, arguments["kind"], arguments["id"])


def _complete(context: Context, arguments: Arguments, progress: Progress) -> dict[str, Any]:
    from plugin.stages.complete import complete_study

    return complete_study(
        context, arguments["study_instance_uid"], by=arguments["by"], reason=arguments["reason"]
    )


def _erase(context: Context, arguments: Arguments, progress: Progress) -> dict[str, Any]:
    from plugin.stages.erase import erase_patient

    return erase_patient(
        context,
        issuer=arguments["issuer"],
        patient_id=arguments["patient_id"],
        by=arguments["by"],
        reason=arguments["reason"],
        dry_run=arguments["dry_run"],
    )


def _retain(context: Context, arguments: Arguments, progress: Progress) -> dict[str, Any]:
    from plugin.stages.retain import expire_studies

    return expire_studies(context, dry_run=arguments["dry_run"])


def _decide(context: Context, arguments: Arguments, progress: Progress) -> dict[str, Any]:
    from plugin.stages.quarantine import decide_quarantined

    return decide_quarantined(
        context,
        arguments["digest"],
        arguments["action"],
        by=arguments["by"],
        reason=arguments["reason"],
    )


def _decide_document(context: Context, arguments: Arguments, progress: Progress) -> dict[str, Any]:
    from plugin.stages.document_decisions import decide_document

    return decide_document(
        context,
        arguments["digest"],
        arguments["action"],
        by=arguments["by"],
        reason=arguments["reason"],
    )


def _reindex(context: Context, arguments: Arguments, progress: Progress) -> dict[str, Any]:
    from plugin.stages.quarantine import rebuild_index

    return rebuild_index(context, progress, dry_run=arguments["dry_run"])


def _accept_feed(context: Context, arguments: Arguments, progress: Progress) -> dict[str, Any]:
    from plugin.stages.feeds import accept_feed

    return accept_feed(
        context,
        arguments["profile"],
        progress,
        by=arguments["by"],
        reason=arguments["reason"],
        undecided=arguments.get("undecided", False),
    )


def _withdraw_feed(context: Context, arguments: Arguments, progress: Progress) -> dict[str, Any]:
    from plugin.stages.feeds import withdraw_feed

    return withdraw_feed(
        context,
        arguments["sender"],
        progress,
        by=arguments["by"],
        reason=arguments["reason"],
    )


def _replay(context: Context, arguments: Arguments, progress: Progress) -> dict[str, Any]:
    from plugin.stages.messages import replay_messages

    return replay_messages(context, arguments, progress)


def _import_objects(context: Context, arguments: Arguments, progress: Progress) -> dict[str, Any]:
    from plugin.stages.import_objects import import_objects, try_import

    work = try_import if arguments["dry_run"] else import_objects
    return work(context, arguments, progress)


def _stop_import(context: Context, arguments: Arguments, _progress: Progress) -> dict[str, Any]:
    from plugin.stages.import_journal import stop_import

    return stop_import(context, arguments["import"], by=arguments["by"])


def _import_reports(context: Context, arguments: Arguments, progress: Progress) -> dict[str, Any]:
    from plugin.stages.history import import_reports

    return import_reports(context, arguments, progress)


def _decide_link(context: Context, arguments: Arguments, progress: Progress) -> dict[str, Any]:
    from plugin.stages.link import decide_link

    return decide_link(
        context,
        arguments["report"],
        arguments["study_instance_uid"],
        arguments["action"],
        by=arguments["by"],
        reason=arguments["reason"],
    )


def _review_patient(context: Context, arguments: Arguments, progress: Progress) -> dict[str, Any]:
    from dicom_node.linking.identifiers import Identifier
    from plugin.stages.patients import review_patient

    who = Identifier(arguments["patient_id"], arguments["issuer"], arguments["assumed"])
    return review_patient(context, who, by=arguments["by"], reason=arguments["reason"])


def _unmerge(context: Context, arguments: Arguments, progress: Progress) -> dict[str, Any]:
    from dicom_node.linking.identifiers import Identifier
    from plugin.stages.patients import unmerge_patients

    one = Identifier(arguments["patient_id"], arguments["issuer"], arguments["assumed"])
    other = Identifier(arguments["other"], arguments["other_issuer"], arguments["assumed"])
    return unmerge_patients(context, one, other, by=arguments["by"], reason=arguments["reason"])


def _plan_evaluation(context: Context, arguments: Arguments, progress: Progress) -> dict[str, Any]:
    from plugin.stages.evaluation_plan import freeze_plan

    return freeze_plan(context, arguments["name"], arguments["asked"], arguments["by"])


def _run_evaluation(context: Context, arguments: Arguments, progress: Progress) -> dict[str, Any]:
    from plugin.stages.evaluation import run_plan

    return run_plan(context, arguments["name"], arguments["by"], progress)


def _start_backfill(context: Context, arguments: Arguments, progress: Progress) -> dict[str, Any]:
    from plugin.stages.backfill import start_backfill

    return start_backfill(context, **arguments)


def _try_backfill(context: Context, arguments: Arguments, progress: Progress) -> dict[str, Any]:
    from plugin.stages.backfill_trial import try_backfill

    return try_backfill(context, progress=progress, **arguments)


def _stop_backfill(context: Context, arguments: Arguments, progress: Progress) -> dict[str, Any]:
    from plugin.stages.backfill import stop_backfill

    return stop_backfill(context, arguments["name"])


def _resume_backfill(context: Context, arguments: Arguments, progress: Progress) -> dict[str, Any]:
    from plugin.stages.backfill import resume_backfill

    return resume_backfill(context, arguments["name"], again=arguments["again"])


def _reconcile(context: Context, arguments: Arguments, progress: Progress) -> dict[str, Any]:
    from plugin.stages.reconcile import reconcile

    return reconcile(
        context,
        progress,
        peer_name=arguments["peer"],
        dry_run=arguments["dry_run"],
        accept_absent=arguments.get("accept_absent", False),
    )


ASKING = frozenset({"reconcile", "backfill try"})
"""Commands that ask archives; they end when the node does, which waits for them."""


OPERATIONS: dict[str, Callable[[Context, Arguments, Progress], dict[str, Any]]] = {
    "label": _label,
    "reference import": _import_references,
    "reference sample": _sample_references,
    "labeler calibrate": _calibrate,
    "labeler qualify": _qualify,
    "cohort freeze": _freeze,
    "cohort export": _export,
    "cohort opt-out": _opt_out,
    "cohort close-export": _close_export,
    "train": _train,
    "promote": _promote,
    "models silence": _silence,
    "models retire": _retire,
    "models rollback": _rollback,
    "models close-note": _close_note,
    "predict": _predict,
    "sr resend": _resend,
    "commitment retry": _retry_commitment,
    "study complete": _complete,
    "erase": _erase,
    "retention run": _retain,
    "quarantine decide": _decide,
    "documents decide": _decide_document,
    "link decide": _decide_link,
    "patient review": _review_patient,
    "patient unmerge": _unmerge,
    "reindex": _reindex,
    "hl7 replay": _replay,
    "feed accept": _accept_feed,
    "feed withdraw": _withdraw_feed,
    "import dicom": _import_objects,
    "import stop": _stop_import,
    "import reports": _import_reports,
    "evaluation plan": _plan_evaluation,
    "evaluation run": _run_evaluation,
    "reconcile": _reconcile,
    "backfill start": _start_backfill,
    "backfill try": _try_backfill,
    "backfill stop": _stop_backfill,
    "backfill resume": _resume_backfill,
}


def run_operation(
    context: Context, command: str, arguments: Arguments, progress: Progress
) -> dict[str, Any]:
    """Run the named operation on an open node.

    Raises:
        Permanent: there is no such operation.
    """
    operation = OPERATIONS.get(command)
    if operation is None:
        raise Permanent(f"the node does not know the command {command!r}")
    return operation(context, arguments, progress)


def operate(
    settings: Settings, command: str, arguments: Arguments, progress: Progress
) -> dict[str, Any]:
    """Run the named operation through the running node, or here when none runs."""
    folder = DataFolder(settings.data_folder)
    try:
        return control.call(folder.control_socket, command, arguments, progress)
    except ConnectionRefusedError:
        folder.create()
        with folder.exclusive(), open_context(settings) as context:
            return run_operation(context, command, arguments, progress)
