"""``radloop llm adapt``: a local language model learns to read the reports of one schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from plugin.cli_calls import JsonOption, NodeOption, StoreOption, show
from plugin.cli_research import llm

SchemaOption = Annotated[
    str,
    typer.Option(help="A shipped schema or a .yaml file. Default: the node's."),
]
WordingOption = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        help="Phrasings of the schema's findings, see deploy/synthesis.md. Default: those that "
        "ship with a schema; others are spoken of by their names and synonyms.",
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        file_okay=False,
        help="Takes checkpoint, log, learning curve, figures and adapter. Default: a folder of "
        "the model store.",
    ),
]
TreeOption = Annotated[
    float,
    typer.Option(min=0.0, max=0.9, help="Share of the reports that teach the labeler tree, too."),
]
BeginOption = Annotated[
    str,
    typer.Option(
        help="An adapter of the same model and rank to learn on from, which is much faster: its "
        "name; auto: one of this schema, or else any; none: from nothing."
    ),
]


def register(_app: typer.Typer) -> None:
    """Add the commands of this file to the group ``llm``."""
    llm.command("adapt")(llm_adapt)


def llm_adapt(
    config: NodeOption = None,
    schema: SchemaOption = "",
    base: Annotated[
        str, typer.Option(help="Of the model store, or a path. Default: the settings' model.")
    ] = "",
    name: Annotated[str, typer.Option(help="Of the adapter. Default: the schema's.")] = "",
    minutes: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="Time of learning; loading and judging come on top. 0: the adapter to begin from "
            "is judged again, and learns nothing.",
        ),
    ] = 20.0,
    steps: Annotated[int, typer.Option(min=0, help="At most; 0: as the time allows.")] = 0,
    seed: Annotated[int, typer.Option(help="Of all chance.")] = 1,
    rank: Annotated[int, typer.Option(min=1, max=256, help="Of the matrices.")] = 8,
    rate: Annotated[float, typer.Option(min=1e-6, help="Of learning, at its highest.")] = 7e-4,
    tree: TreeOption = 0.0,
    begin: BeginOption = "auto",
    wording: WordingOption = None,
    output: OutputOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a local language model learn to answer the labelers' questions about a schema.

    It learns from generated reports alone; no report of a patient is read. The result, a few
    megabytes, enters the model store, and labelers use it with the next report ([labeling.
    language_model] adapter = "auto"). A command that was stopped goes on when it is given again.
    The figures are of generated reports in phrasings that were kept apart: they replace no
    evaluation on reports of your own. Research use only.
    """
    from plugin.adaptation import AdaptationJob, adapt
    from plugin.labeling_options import labeling_settings, with_options
    from plugin.tables import progress_line

    settings, folder = labeling_settings(config)
    folder = (store or folder).absolute()
    settings = with_options(settings, folder, schema=schema, model=base)
    called = name or Path(settings.schema_file or settings.schema_name).stem
    job = AdaptationJob(
        name=called,
        folder=(output or folder / ".adapters" / f"{called}.training").absolute(),
        settings=settings,
        model_store=folder,
        wording=wording.absolute() if wording else None,
        options={"seed": seed, "minutes": minutes, "steps": steps, "rank": rank, "rate": rate},
        tree=tree,
        begin=begin,
    )
    try:
        with progress_line() as progress:
            result = adapt(job, progress)
    except KeyboardInterrupt:
        typer.echo("stopped: the same command goes on from its last checkpoint", err=True)
        raise typer.Exit(130) from None
    show(result, as_json)
