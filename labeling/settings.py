"""Settings of labeling; ``plugin.settings`` reads them from one TOML file."""

from __future__ import annotations

from pydantic import Field

from dicom_node.setting_values import Section


class LanguageModelSettings(Section):
    """The on-premise language model: an entry of the model store, verified by SHA-256."""

    name: str = "smollm2-135m-instruct"
    sha256: str = ""  # empty: the digest recorded when the model entered the store
    threads: int = Field(default=2, ge=1)


class LabelingSettings(Section):
    """Which schema and labelers read the reports."""

    schema_name: str = "spine"
    schema_file: str = ""  # a site's own schema; wins over schema_name
    labelers: tuple[str, ...] = ("rules", "token_scores")
    automatic: str = ""  # the labeler that reads each new report at once; empty: by command only
    language_model: LanguageModelSettings = LanguageModelSettings()
