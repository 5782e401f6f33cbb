"""What options of a command line change in the settings of labeling, with or without a node."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from labeling.settings import LabelingSettings


def labeling_settings(config: Path | None) -> tuple[LabelingSettings, Path]:
    """Return the settings of labeling and the folder of the model store; without a node, a user's.

    Args:
        config: the settings file of a node; None: defaults, and a store in the user's data folder.
    """
    from plugin.folders import DataFolder
    from plugin.settings import load_settings

    if config is None:
        home = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
        return LabelingSettings(), Path(home) / "radloop" / "language-models"
    settings = load_settings(config)
    return settings.labeling, DataFolder(settings.data_folder).language_models


def with_options(
    settings: LabelingSettings,
    store: Path,
    *,
    schema: str = "",
    model: str = "",
    two_step: bool = False,
) -> LabelingSettings:
    """Return the settings with what was typed; an empty option changes nothing.

    Args:
        settings: as the file has them.
        store: folder of the model store; a model that is named by its path enters it.
        schema: a shipped schema or the path of a .yaml file.
        model: its name in the store, or a path.
        two_step: let the labeler ``token_scores`` write a summary first.
    """
    changed: dict[str, Any] = {}
    if schema.endswith((".yaml", ".yml")):
        changed |= {"schema_file": str(Path(schema).absolute()), "observations": ()}
    elif schema:
        changed |= {"schema_name": schema, "schema_file": "", "observations": ()}
    if model:
        named = {"name": _entered(model, store), "sha256": ""}
        changed["language_model"] = settings.language_model.model_copy(update=named)
    if two_step:
        asked = settings.token_scores.model_copy(update={"two_step": True})
        changed["token_scores"] = asked
    return settings.model_copy(update=changed)


def _entered(model: str, store: Path) -> str:
    """Return the name of a model in the store; a path enters it first."""
    from labeling.llm.model_store import ModelStore

    if not Path(model).exists():
        return model
    name = Path(model).stem.lower()
    ModelStore(store).add(Path(model), name)
    return name
