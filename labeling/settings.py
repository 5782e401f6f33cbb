"""Settings of labeling; ``plugin.settings`` reads them from one TOML file."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SecretStr

from dicom_node.setting_values import Section


class LanguageModelSettings(Section):
    """The on-premise language model: an entry of the model store, or a server in the house."""

    backend: Literal["transformers", "llama_cpp", "server"] = "transformers"
    name: str = "smollm2-135m-instruct"  # in the store; on a server, the name it goes by there
    sha256: str = ""  # empty: the digest recorded when the model entered the store
    threads: int = Field(default=2, ge=1)
    dtype: Literal["auto", "float32", "bfloat16"] = "float32"
    adapter: str = "auto"  # of `radloop llm adapt`: its name, "none", or one that fits
    batch_reports: int = Field(default=8, ge=1, le=256)  # read side by side
    url: str = ""  # of a server: http://127.0.0.1:8000/v1
    concurrent_requests: int = Field(
        default=0, ge=0, le=64
    )  # 0: as many as the server is known for
    api_key: SecretStr = SecretStr("")
    timeout_seconds: float = Field(default=120.0, gt=0)
    allow_public_address: bool = False  # reports leave the house only where a person says so


class TokenScoreSettings(Section):
    """How the labeler ``token_scores`` asks."""

    two_step: bool = False  # a summary aimed at the condition, then the question
    summary_tokens: int = Field(default=64, ge=8, le=1024)
    levels: bool = True  # ask at each site of the schema, too
    mention: bool = True  # ask whether it is mentioned: tells absent from not mentioned
    evidence: bool = True  # find the sentences that are missed where they are taken away


class TreeSettings(Section):
    """How the labeler ``tree`` asks."""

    evidence: bool = True  # find the sentences that are missed where they are taken away
    # False: only the questions on the likeliest way, as published: the same states by half the
    # questions, and margins that know less.
    all_ways: bool = True


class StudentSettings(Section):
    """The trained encoder that the labeler ``student`` uses: an entry of the model store."""

    name: str = ""  # empty: the one that comes with the schema, where there is one
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: as the processor multiplies
    processes: int = Field(default=0, ge=0, le=64)  # that read; 0: one for each thread


class LabelingSettings(Section):
    """Which schema and labelers read the reports."""

    schema_name: str = "spine"
    schema_file: str = ""  # a site's own schema; wins over schema_name
    observations: tuple[str, ...] = ()  # ids of the schema that are read; empty: all
    labelers: tuple[str, ...] = ("rules", "token_scores")
    automatic: str = ""  # the labeler that reads each new report at once; empty: by command only
    label_history: bool = False  # read history, indication and technique, too
    language_packs: tuple[str, ...] = ()  # folders of a site's own packs; English ships
    language_model: LanguageModelSettings = LanguageModelSettings()
    token_scores: TokenScoreSettings = TokenScoreSettings()
    tree: TreeSettings = TreeSettings()
    student: StudentSettings = StudentSettings()

    def for_child(self) -> dict[str, Any]:
        """Return the settings as values of JSON for the pipe to a child, secrets included."""
        values = self.model_dump(mode="json")
        values["language_model"]["api_key"] = self.language_model.api_key.get_secret_value()
        return values
