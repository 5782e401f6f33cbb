"""The command that judges files of labels by known ones, without a node."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plugin.cli_calls import JsonOption, NodeOption, show
from plugin.cli_research import labeler as group

if TYPE_CHECKING:
    from labeling.vocabulary import LabelSchema

TruthOption = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        help="Readers' labels by id, as `reference import` takes them (CSV or JSONL), or what "
        "`labeler generate --output` wrote.",
    ),
]
SchemaOption = Annotated[
    str, typer.Option(help="Of the labels: a shipped schema or a .yaml file. Default: the node's.")
]
_SHOWN = 10
_COMPARED = ("auroc", "balanced_accuracy")


def register(_app: typer.Typer) -> None:
    """Add the commands of this file to the group ``labeler``."""
    group.command("score")(score)


def score(
    labels: Annotated[
        list[Path],
        typer.Option(
            exists=True,
            dir_okay=False,
            help="What `radloop label --output` wrote; again for another labeler beside it.",
        ),
    ],
    truth: TruthOption = None,
    config: NodeOption = None,
    schema: SchemaOption = "",
    folds: Annotated[
        int,
        typer.Option(
            min=0, help="Judge each report by thresholds fitted on other patients' folds; 0: not."
        ),
    ] = 0,
    resamples: Annotated[int, typer.Option(min=0, help="Bootstrap samples for intervals.")] = 1000,
    each_site: Annotated[
        bool, typer.Option("--each-site", help="Give figures of each site, too.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Judge labels of files by readers' labels of the same reports; no node is needed.

    Figures are of "present" against the rest, whole and over all sites, with 95 % intervals;
    uncertain labels count as not present, what readers left uncertain is left out. Give the labels
    of the rules, too: what does not beat them is not worth its time. No word of a report is read.
    Research use only.
    """
    from plugin.scoring import ScoreJob
    from plugin.scoring import score as judge

    if truth is None:
        raise typer.BadParameter("--truth names the file of known labels")
    job = ScoreJob(
        tuple(each.absolute() for each in labels),
        truth.absolute(),
        schema_named(config, schema),
        folds=folds,
        resamples=resamples,
        each_site=each_site,
    )
    result = judge(job)
    show(result if as_json else _for_people(result), as_json)
    for caution in result["cautions"]:
        typer.echo(f"warning: {caution}", err=True)


def schema_named(config: Path | None, schema: str) -> LabelSchema:
    """Return the schema that was typed, else that of a node, else the default."""
    from labeling.schema_file import schema_of
    from plugin.labeling_options import labeling_settings, with_options

    settings, folder = labeling_settings(config)
    return schema_of(with_options(settings, folder, schema=schema))


def _for_people(result: dict[str, Any]) -> dict[str, Any]:
    """Return a result without what a screen cannot hold; --json has all of it."""
    kept = {name: value for name, value in result.items() if value not in ([], {})}
    kept.pop("cautions", None)
    kept.pop("confusion")
    for rows in ("figures", "each_site"):
        if rows in kept:
            kept[rows] = [_chief(row) for row in kept[rows]]
    if "differences" in kept:
        kept["differences"] = _chief_differences(kept["differences"])
    if "missing" in kept:
        kept["missing"] = {name: _some(ids) for name, ids in kept["missing"].items()}
    if "without_truth" in kept:
        kept["without_truth"] = _some(kept["without_truth"])
    return kept


def _chief(row: dict[str, Any]) -> dict[str, Any]:
    """Return the columns up to the chief figures, and how many labels are no decision."""
    names = list(row)
    kept = names[: names.index("macro_f1_high") + 1]
    return {name: row[name] for name in (*kept, "uncertain", "failed", "uncertain_references")}


def _chief_differences(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each observation: who stands against whom, and the chief differences."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in rows:
        names = {name: row[name] for name in ("observation", "at", "between")}
        own = found.setdefault(tuple(names.values()), names)
        if (figure := row["figure"]) in _COMPARED:
            ends = {f"{figure}_low": row["low"], f"{figure}_high": row["high"]}
            own |= {figure: row["difference"], **ends}
    return list(found.values())


def _some(ids: list[str]) -> str:
    more = f", and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
    return ", ".join(ids[:_SHOWN]) + more
