"""Commands about label schemas: is a file of one's own usable, and what does it hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plugin.cli_calls import JsonOption, show

if TYPE_CHECKING:
    from labeling.synthesis.words import Wording
    from labeling.vocabulary import LabelSchema, Observation

group = typer.Typer(no_args_is_help=True, help="What is looked for in reports.")


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the command line."""
    app.add_typer(group, name="schema")


@group.callback()
def schemas() -> None:
    """Stay a group while it has one command."""


@group.command("check")
def check(
    schema: Annotated[str, typer.Argument(help="A .yaml file of your own, or a shipped schema.")],
    wording: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Its phrasings, see deploy/synthesis.md."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Tell whether a schema, the words of rules beside it and its phrasings can be used.

    What is wrong is named by file, line and key. See deploy/schemas.md.
    """
    from labeling.rules.lexicon import load_lexicon
    from labeling.schema_file import schema_of
    from labeling.schema_words import languages_of
    from labeling.settings import LabelingSettings
    from labeling.synthesis.wording_file import load_wording
    from plugin.labeling_options import with_options

    settings = with_options(LabelingSettings(), Path(), schema=schema)
    asked = schema_of(settings)
    pack = languages_of(settings).packs["en"]
    load_lexicon(asked, pack)
    words = load_wording(asked, path=wording)
    beside = _rules_of(schema, asked)
    result = {
        "schema": asked.name,
        "title": asked.title,
        "digest": asked.digest,
        "rules": beside or "none: the rules know names and synonyms alone",
        "observations": [_row(each, asked, words) for each in asked.observations],
        "unconfirmed_codes": _unconfirmed(asked),
    }
    show(result, as_json)


def _rules_of(named: str, schema: LabelSchema) -> str:
    from importlib import resources

    beside = Path(named).with_suffix(".rules.yaml")
    shipped = resources.files("labeling") / "schemas" / f"{schema.name}.rules.yaml"
    if named.endswith((".yaml", ".yml")) and beside.is_file():
        return beside.name
    return shipped.name if shipped.is_file() else ""


def _row(observation: Observation, schema: LabelSchema, wording: Wording) -> dict[str, Any]:
    own = wording.own.observations.get(observation.id)
    phrasings = 0
    if own is not None:
        kinds = (own.present, own.absent, own.says, own.denies, own.hedges, own.stable)
        parted = (*kinds, *own.severities.values())
        phrasings = sum(len(each.train) + len(each.test) for each in parted)
    return {
        "observation": observation.id,
        "sites": [schema.site(each).name for each in observation.sites],
        "severities": [each.name for each in observation.severities],
        "synonyms": len(observation.synonyms),
        "phrasings": phrasings,
    }


def _unconfirmed(schema: LabelSchema) -> list[str]:
    sites = [each.id for each in schema.sites if each.code.unconfirmed]
    return sites + [each.id for each in schema.observations if each.code.unconfirmed]
