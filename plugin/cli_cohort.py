"""Commands of frozen cohorts: freeze by a query, list, show, verify; and opting out of research."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from plugin.cli_calls import ByOption, ConfigOption, JsonOption, ask, operate, show

cohort = typer.Typer(no_args_is_help=True, help="Frozen cohorts: members, folds, exclusions.")

_Texts = list[str] | None


@cohort.command("freeze")
def cohort_freeze(
    name: Annotated[str, typer.Argument(help="What people call the cohort.")],
    config: ConfigOption,
    labeler: Annotated[
        str | None, typer.Option(help="Whose labels become the targets.  [default: rules]")
    ] = None,
    query: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="TOML or YAML; see deploy/cohorts.md."),
    ] = None,
    modality: Annotated[str | None, typer.Option(help="Modality (0008,0060).")] = None,
    body_part: Annotated[_Texts, typer.Option(help="Body Part Examined; may be repeated.")] = None,
    series_description: Annotated[
        str | None, typer.Option(help="Text that Series Description must contain.")
    ] = None,
    sequence: Annotated[
        _Texts, typer.Option(help="Pattern of Series Description (* and ?); may be repeated.")
    ] = None,
    series_rule: Annotated[
        str | None,
        typer.Option(help="Rule for series, by name or file: `radloop series try` shows it."),
    ] = None,
    date_from: Annotated[str | None, typer.Option("--from", help="Study Date, 2024-01-31.")] = None,
    date_to: Annotated[str | None, typer.Option("--to", help="Study Date, included.")] = None,
    test_from: Annotated[
        str | None, typer.Option(help="Train on studies before this Study Date, test from it on.")
    ] = None,
    test_site: Annotated[
        str | None, typer.Option(help="Test at this institution alone, train at all others.")
    ] = None,
    minimum_link: Annotated[
        str | None, typer.Option(help="confirmed, or reviewed: a person decided.")
    ] = None,
    uncertain_policy: Annotated[
        str | None, typer.Option(help="mask, inclusive, exclusive or soft.")
    ] = None,
    exclude_studies: Annotated[
        Path | None, typer.Option(exists=True, help="CSV of studies to leave out.")
    ] = None,
    exclude_patients: Annotated[
        Path | None, typer.Option(exists=True, help="CSV of patients to leave out.")
    ] = None,
    consent: Annotated[
        Path | None, typer.Option(exists=True, help="CSV of those who agreed; nobody else enters.")
    ] = None,
    opt_out: Annotated[
        Path | None, typer.Option(exists=True, help="CSV of those who did not agree.")
    ] = None,
    duplicates: Annotated[
        str | None, typer.Option(help="Near-duplicate images on two sides: stop or exclude.")
    ] = None,
    suspects: Annotated[
        str | None, typer.Option(help="Suspected persons on two sides: stop or exclude.")
    ] = None,
    accept_suspect: Annotated[
        _Texts, typer.Option(help="Name of a suspicion that somebody looked at; may be repeated.")
    ] = None,
    accept_uncalibrated: Annotated[
        bool,
        typer.Option(
            "--accept-uncalibrated",
            help="Take labels for which no thresholds were fitted; the cohort says so for good.",
        ),
    ] = False,
    accept_unqualified: Annotated[
        bool,
        typer.Option(
            "--accept-unqualified",
            help="Take labels of a labeler without a good verdict; the cohort says so for good.",
        ),
    ] = False,
    accept_unsampled: Annotated[
        bool,
        typer.Option(
            "--accept-unsampled",
            help="Take thresholds, verdicts and a test fold by readers' labels that were not "
            "sampled, blinded and adjudicated; the cohort says so for good.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be frozen; no cohort is kept.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Freeze a cohort: every fitting study with its targets, fold, or reason of exclusion.

    Options win over the file. A person or a picture on two sides stops the freeze. Labels of a
    labeler that was not calibrated and qualified on reference labels are for demonstrations: they
    enter only where a person accepts that. Exit status 1 where no study is a member.
    """
    from plugin.cohort_request import combined, read_request, request_of

    if consent and opt_out:
        raise typer.BadParameter("--consent and --opt-out exclude each other")
    options: dict[str, Any] = {
        "labeler": labeler,
        "modality": modality,
        "body_parts": body_part,
        "series_description": series_description,
        "sequences": sequence,
        "series_rule": _rule_name(series_rule),
        "study_dates": _given({"from": date_from, "to": date_to}),
        "test_from": test_from,
        "test_site": test_site,
        "minimum_link": minimum_link,
        "uncertain_policy": uncertain_policy,
        "excluded_studies": _absolute(exclude_studies),
        "excluded_patients": _absolute(exclude_patients),
        "consent": _consent(consent, "opt_in") or _consent(opt_out, "opt_out"),
        "duplicates": duplicates,
        "suspects": suspects,
        "accepted_suspects": accept_suspect,
    }
    written = read_request(query) if query else {}
    if options["consent"] and "consent" in written:
        raise typer.BadParameter("the query names a list of consent already: leave the option out")
    asked = combined(written, options)
    request_of(asked, "the options")
    given = {
        "uncalibrated": accept_uncalibrated,
        "unqualified": accept_unqualified,
        "unsampled": accept_unsampled,
    }
    accepted = [each for each, is_given in given.items() if is_given]
    result = operate(
        config,
        "cohort freeze",
        name=name,
        labeler=asked.get("labeler") or "rules",
        accepted=accepted,
        query=asked,
        dry_run=dry_run,
    )
    show(result, as_json)
    for each in result["matches_nothing"]:
        typer.echo(f"warning: matches nothing: {each}", err=True)
    if not result["members"]:
        why = "`exclusions` says why" if result["exclusions"] else "the node holds no study yet"
        typer.echo(f"warning: the cohort has no members: {why}", err=True)
        raise typer.Exit(1)


@cohort.command("list")
def cohort_list(config: ConfigOption, as_json: JsonOption = False) -> None:
    """List the frozen cohorts, the newest first, with members, exclusions and what stands."""
    show(ask(config, "cohorts"), as_json)


@cohort.command("show")
def cohort_show(
    name: Annotated[str, typer.Argument(help="Of a frozen cohort.")],
    config: ConfigOption,
    studies: Annotated[
        bool, typer.Option("--studies", help="Each study with its fold, or why it has none.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the newest cohort of this name: members by fold, exclusions by reason."""
    show(ask(config, "cohort", name=name, studies=studies), as_json)


@cohort.command("verify")
def cohort_verify(
    subject: Annotated[
        str, typer.Argument(help="A manifest (.json), or name or digest of a frozen cohort.")
    ],
    config: ConfigOption,
    read_files: Annotated[
        bool, typer.Option("--read-files", help="Read every image and make its digest anew.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare a cohort with archive, reports, labels and code as they are now.

    Exit status 1 where something differs.
    """
    result = ask(config, "cohort verify", subject=subject, read_files=read_files)
    show(result, as_json)
    if result["differences"]:
        raise typer.Exit(1)


@cohort.command("export")
def cohort_export(
    name: Annotated[str, typer.Argument(help="Of a frozen cohort: the newest of this name.")],
    to: Annotated[Path, typer.Option("--to", help="The folder; it must not hold anything else.")],
    config: ConfigOption,
    formats: Annotated[
        str, typer.Option("--format", help="parquet, datalist, nifti, dicom; with commas.")
    ] = "parquet",
    options: Annotated[
        str,
        typer.Option(
            "--options",
            help="clean-descriptors, modified-dates, patient-characteristics, device-identity, "
            "accept-unstated-annotation, accept-faces; with commas. Without: the Basic Profile.",
        ),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Export the newest cohort of a name, de-identified by DICOM PS3.15: deploy/exports.md.

    Exit status 1 where no member could be exported.
    """
    result = operate(
        config,
        "cohort export",
        name=name,
        to=str(to.absolute()),
        formats=[each.strip() for each in formats.split(",") if each.strip()],
        options=[each.strip() for each in options.split(",") if each.strip()],
    )
    show(result, as_json)
    if not result["members"]:
        typer.echo("warning: the export has no members: `left_out` says why", err=True)
        raise typer.Exit(1)


@cohort.command("exports")
def cohort_exports(config: ConfigOption, as_json: JsonOption = False) -> None:
    """List the exports, what was withdrawn from each since, and whether its cohort still stands."""
    show(ask(config, "exports"), as_json)


@cohort.command("close-export")
def cohort_close_export(
    number: Annotated[int, typer.Argument(help="As `radloop cohort exports` lists it.")],
    reason: Annotated[str, typer.Option(help="How you know that it is gone; kept.")],
    config: ConfigOption,
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Record that an export and its copies are gone: the node asks for its folder no more.

    Refused while the export lies in its folder.
    """
    result = operate(config, "cohort close-export", number=number, by=by, reason=reason)
    show(result, as_json)


@cohort.command("opt-out")
def cohort_opt_out(
    patient_id: Annotated[str, typer.Argument(help="Patient ID.")],
    issuer: Annotated[str, typer.Option(help="Issuer of the patient id.")],
    reason: Annotated[str, typer.Option(help="Why; kept, so it must not name the patient.")],
    config: ConfigOption,
    revoke: Annotated[bool, typer.Option("--revoke", help="The patient takes part again.")] = False,
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Record that a patient has opted out of research: no cohort takes the patient in any more.

    Cohorts and models that hold data of the patient say so, such a cohort does not train, and the
    patient leaves its exports. Nothing else is deleted; see `radloop erase`.
    """
    result = operate(
        config,
        "cohort opt-out",
        patient_id=patient_id,
        issuer=issuer,
        by=by,
        reason=reason,
        revoke=revoke,
    )
    show(result, as_json)
    if revoke and not result["opted_out_before"]:
        typer.echo("warning: this patient had not opted out", err=True)
    if not result["known"]:
        typer.echo(
            "warning: nothing of a patient with this id of this issuer is here; it is recorded for "
            "what may come. Check both for typing errors",
            err=True,
        )


def _given(values: dict[str, str | None]) -> dict[str, str] | None:
    return {name: each for name, each in values.items() if each is not None} or None


def _rule_name(given: str | None) -> str | None:
    """Return the name of a rule that ships, or the whole path of a file: the node reads it."""
    if given and given.endswith((".yaml", ".yml")):
        return str(Path(given).absolute())
    return given


def _absolute(path: Path | None) -> str | None:
    return str(path.absolute()) if path else None


def _consent(path: Path | None, rule: str) -> dict[str, str] | None:
    return {"list": str(path.absolute()), "rule": rule} if path else None
