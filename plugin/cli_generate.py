"""The command that writes generated reports whose labels are known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labeling.synthesis.generated import Split
from plugin.cli_calls import JsonOption, show
from plugin.cli_research import labeler as group


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the command line."""
    group.command("generate")(generate)


def generate(
    output: Annotated[Path, typer.Option(dir_okay=False, help="JSON Lines with text and labels.")],
    schema: Annotated[str, typer.Option(help="A shipped schema or a .yaml file.")] = "spine",
    count: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many reports.")] = 100,
    seed: Annotated[int, typer.Option(help="Of all chance.")] = 1,
    split: Annotated[
        Split, typer.Option(help="Whose phrasings: none of one split is in the other.")
    ] = "test",
    wording: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Your wording file for the schema."),
    ] = None,
    language: Annotated[str, typer.Option(help="Of the wording that ships.")] = "en",
    references: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="CSV of the same labels for radloop reference import."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write generated reports with what their texts say; no patient is in them.

    They teach and test how texts are read. How well a labeler reads real reports they do not tell:
    that takes reports that readers labelled. See deploy/synthesis.md.
    """
    from dicom_node.durable import write_durably
    from labeling.schema_file import schema_of
    from labeling.settings import LabelingSettings
    from labeling.synthesis.files import label_source, reference_file
    from labeling.synthesis.generator import generate as generated
    from plugin.labeling_options import with_options

    asked = schema_of(with_options(LabelingSettings(), Path(), schema=schema))
    reports = list(
        generated(asked, count, seed=seed, split=split, language=language, wording=wording)
    )
    write_durably(output.absolute(), label_source(reports, asked))
    if references is not None:
        write_durably(references.absolute(), reference_file(reports))
    result = {"output": str(output), "schema": asked.name, "split": split, "reports": count}
    show(result, as_json)
