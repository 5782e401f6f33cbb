"""Commands of linking: why a report belongs to a study, and what people decide about it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from plugin.cli_calls import ByOption, ConfigOption, JsonOption, ask, operate, show

link = typer.Typer(no_args_is_help=True, help="Which report belongs to which study, and why.")
patient = typer.Typer(
    no_args_is_help=True, help="Who is one patient with whom, and who is under review."
)

ReportArgument = Annotated[
    str, typer.Argument(help="Number of the report here, or at its sender (OBR-3).")
]
StudyArgument = Annotated[str, typer.Argument(help="Study Instance UID.")]
PatientArgument = Annotated[str, typer.Argument(help="Patient ID.")]
IssuerOption = Annotated[str, typer.Option(help="Issuer of the patient id.")]
AssumedOption = Annotated[
    bool, typer.Option("--assumed", help="The issuer is one that the settings assume.")
]
ReasonOption = Annotated[str, typer.Option(help="Why; kept with the decision.")]
StateOption = Annotated[
    str, typer.Option(help="confirmed, suspended, proposed, refused or withdrawn.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the command line."""
    app.add_typer(link, name="link")
    app.add_typer(patient, name="patient")


@link.command("list")
def link_list(config: ConfigOption, state: StateOption = "", as_json: JsonOption = False) -> None:
    """List the reports that are not linked, with the reason; or the links in one state."""
    show(ask(config, "links", state=state), as_json)


@link.command("explain")
def link_explain(
    what: Annotated[str, typer.Argument(help="A report as above, or a Study Instance UID.")],
    config: ConfigOption,
    as_json: JsonOption = False,
) -> None:
    """Tell why a report or a study is or is not linked, and what would change it."""
    found = ask(config, "explain", what=what)
    if not as_json:
        found.pop("links")
    show(found, as_json)


@link.command("confirm")
def link_confirm(
    report: ReportArgument,
    study: StudyArgument,
    reason: ReasonOption,
    config: ConfigOption,
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Confirm a link; against a contradiction two different people must.

    The confirmation holds for the evidence as it is now. Exit status 1 while the link is not
    confirmed.
    """
    if _decide(config, report, study, "confirm", by, reason, as_json) != "confirmed":
        raise typer.Exit(1)


@link.command("withdraw")
def link_withdraw(
    report: ReportArgument,
    study: StudyArgument,
    reason: ReasonOption,
    config: ConfigOption,
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Withdraw a link, whatever the rules say, until that is reverted."""
    _decide(config, report, study, "withdraw", by, reason, as_json)


@link.command("revert")
def link_revert(
    report: ReportArgument,
    study: StudyArgument,
    reason: ReasonOption,
    config: ConfigOption,
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Take back what people decided: the rules hold again."""
    _decide(config, report, study, "revert", by, reason, as_json)


@patient.command("show")
def patient_show(
    patient_id: PatientArgument,
    issuer: IssuerOption,
    config: ConfigOption,
    assumed: AssumedOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show the identities of a patient, what messages and people said, and what is under review."""
    show(ask(config, "patient", patient_id=patient_id, issuer=issuer, assumed=assumed), as_json)


@patient.command("review")
def patient_review(
    patient_id: PatientArgument,
    issuer: IssuerOption,
    reason: ReasonOption,
    config: ConfigOption,
    assumed: AssumedOption = False,
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Let the links of a patient stand after looking; a new doubt suspends them again."""
    result = operate(
        config,
        "patient review",
        patient_id=patient_id,
        issuer=issuer,
        assumed=assumed,
        by=by,
        reason=reason,
    )
    show(result, as_json)


@patient.command("unmerge")
def patient_unmerge(
    patient_id: PatientArgument,
    other: Annotated[str, typer.Argument(help="The patient id that it was merged with.")],
    issuer: IssuerOption,
    reason: ReasonOption,
    config: ConfigOption,
    other_issuer: Annotated[str, typer.Option(help="Issuer of the other, if it differs.")] = "",
    assumed: AssumedOption = False,
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Take a merge of two patients back, as if it had never been said."""
    result = operate(
        config,
        "patient unmerge",
        patient_id=patient_id,
        issuer=issuer,
        other=other,
        other_issuer=other_issuer or issuer,
        assumed=assumed,
        by=by,
        reason=reason,
    )
    show(result, as_json)


def _decide(
    config: Path, report: str, study: str, action: str, by: str, reason: str, as_json: bool
) -> str:
    result = operate(
        config,
        "link decide",
        report=report,
        study_instance_uid=study,
        action=action,
        by=by,
        reason=reason,
    )
    show(result, as_json)
    return str(result["state"])
