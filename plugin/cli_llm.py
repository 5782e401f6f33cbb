"""``radloop llm check``: what of the configured language model works."""

from __future__ import annotations

import typer

from plugin.cli_calls import ConfigOption, JsonOption, show
from plugin.cli_research import llm


def register(_app: typer.Typer) -> None:
    """Add the commands of this file to the group ``llm``."""
    llm.command("check")(llm_check)


def llm_check(config: ConfigOption, as_json: JsonOption = False) -> None:
    """Ask the configured model or server harmless questions, and say what works.

    Tells whether answers can be scored and held to a grammar, how fast it writes, its digest, and
    where it lies. No report is read. Exits with 1 where no labeler can use it.
    """
    from labeling.llm.check import works
    from plugin.language_models import check_model
    from plugin.settings import load_settings

    found = check_model(load_settings(config))
    show(found, as_json)
    if not works(found):
        raise typer.Exit(1)
