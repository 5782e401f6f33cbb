"""The only door to transformers: a local causal language model that scores yes/no questions.

Works offline on files of the model store. One forward pass reads the report and keeps its keys
and values; a second pass reads all questions at once, side by side. Each question sees the report,
its own stem and itself, by an attention mask in the shape of a tree (as SpecInfer, ASPLOS 2024,
uses it for other ends), so nothing is computed twice and nothing is padded.
"""

# The offline switches are read when transformers is imported, so they are set before.
from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"

import contextlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, DynamicCache
from transformers.utils import logging as transformers_logging

from labeling.llm.interface import UnusableLanguageModel
from labeling.llm.packing import Branch, layout, packs
from labeling.token_scores.prompt import Prompt, ReportTooLong

MAXIMUM_REPORT_TOKENS = 4096
PACK = 1024
"""Tokens of questions in one forward pass."""

_REPORT, _QUESTION = "\ue000R\ue000", "\ue000Q\ue000"  # private use: never in a template
_YES = ("yes", "Yes", "YES", " yes", " Yes", " YES")
_NO = ("no", "No", "NO", " no", " No", " NO")
_ROLE_MARKERS = ("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>")

transformers_logging.disable_progress_bar()


@dataclass(frozen=True)
class _Frame:
    """Token ids around the report and around a question, as the model's chat format has them."""

    before_report: list[int]
    after_report: list[int]
    after_question: list[int]


class LanguageModel:
    """A loaded model. One report at a time; not for use by several threads at once."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._yes = self._answer_ids(_YES)
        self._no = self._answer_ids(_NO)
        if not self._yes or not self._no or set(self._yes) & set(self._no):
            raise UnusableLanguageModel("the tokenizer has no single tokens for yes and no")
        self.markers = frozenset(
            {*tokenizer.all_special_tokens, *map(str, tokenizer.get_added_vocab()), *_ROLE_MARKERS}
        )
        self._special = {*tokenizer.all_special_ids, *tokenizer.get_added_vocab().values()}
        self._special -= {tokenizer.unk_token_id}
        config = model.config
        self._longest = int(getattr(config, "max_position_embeddings", 2048))
        # A sliding window would need a mask for each kind of layer.
        self._packs = not getattr(config, "sliding_window", None)

    @classmethod
    def load(cls, path: Path, *, threads: int = 2) -> LanguageModel:
        """Load a GGUF file or a folder with safetensors, in single precision on the CPU.

        Args:
            path: from the model store, which has checked it; no code of the model is run.
            threads: for the whole process (torch has one pool), so label in a process of its own.

        Raises:
            UnusableLanguageModel: the files do not form a causal language model.
        """
        torch.set_num_threads(threads)
        place, options = (path.parent, {"gguf_file": path.name}) if path.is_file() else (path, {})
        common = {"local_files_only": True, "trust_remote_code": False, **options}
        try:
            # The bar for GGUF tensors cannot be switched off and would break a caller's display.
            with contextlib.redirect_stderr(io.StringIO()):
                # Handed on, because reading it from a GGUF file takes seconds each time.
                config = AutoConfig.from_pretrained(place, **common)
                tokenizer = AutoTokenizer.from_pretrained(place, config=config, **common)
                model = AutoModelForCausalLM.from_pretrained(
                    place,
                    config=config,
                    dtype=torch.float32,
                    attn_implementation="sdpa",
                    **({} if options else {"use_safetensors": True}),
                    **common,
                )
        except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
            raise UnusableLanguageModel(
                f"the model {path.name} cannot be loaded ({type(error).__name__})"
            ) from error
        return cls(model.eval(), tokenizer)

    def score(self, prompt: Prompt, report: str) -> list[list[float]]:
        """Return logit("yes") - logit("no") for every question, in the order of the stems.

        Args:
            prompt: the questions.
            report: cleaned by ``prompt.report_for_prompt`` with this model's ``markers``.

        Raises:
            ReportTooLong: the report has more tokens than the model may read.
        """
        frame = self._frame(prompt)
        prefix = self._prefix(frame, report)
        branches = self._branches(prompt, frame)
        if not self._packs:
            return _by_stem(prompt, self._score_alone(prefix, branches))
        margins: list[float] = []
        with torch.inference_mode():
            cache = DynamicCache(config=self._model.config)
            self._model(input_ids=torch.tensor([prefix]), past_key_values=cache, logits_to_keep=1)
            for pack in packs(branches, PACK):
                margins += self._score_pack(len(prefix), pack, cache)
        return _by_stem(prompt, margins)

    def score_one_by_one(self, prompt: Prompt, report: str) -> list[list[float]]:
        """Return the same as ``score``, reading the whole prompt again for each question."""
        frame = self._frame(prompt)
        branches = self._branches(prompt, frame)
        return _by_stem(prompt, self._score_alone(self._prefix(frame, report), branches))

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens of a text."""
        return len(self._encode_text(text))

    def _score_alone(self, prefix: list[int], branches: list[Branch]) -> list[float]:
        margins: list[float] = []
        with torch.inference_mode():
            for branch in branches:
                if branch.answers:
                    stem = branches[branch.parent].tokens if branch.parent is not None else []
                    tokens = torch.tensor([prefix + stem + branch.tokens])
                    logits = self._model(input_ids=tokens, use_cache=False, logits_to_keep=1).logits
                    margins += self._margins(logits[0])
        return margins

    def _score_pack(self, prefix: int, branches: list[Branch], cache: DynamicCache) -> list[float]:
        """Read branches side by side after the cached prefix, and leave the cache as it was."""
        tokens, positions, mask, ends = layout(prefix, branches)
        logits = self._model(
            input_ids=tokens,
            position_ids=positions,
            attention_mask=mask,
            past_key_values=cache,
            logits_to_keep=ends,
        ).logits
        cache.crop(-tokens.shape[1])
        return self._margins(logits[0])

    def _margins(self, logits: torch.Tensor) -> list[float]:
        yes = torch.logsumexp(logits[:, self._yes].double(), dim=-1)
        no = torch.logsumexp(logits[:, self._no].double(), dim=-1)
        margins: list[float] = (yes - no).tolist()
        if not all(math.isfinite(margin) for margin in margins):
            raise UnusableLanguageModel("the model answers with numbers that are not finite")
        return margins

    def _answer_ids(self, words: Sequence[str]) -> list[int]:
        encoded = [self._tokenizer.encode(word, add_special_tokens=False) for word in words]
        unknown = self._tokenizer.unk_token_id
        return sorted({ids[0] for ids in encoded if len(ids) == 1 and ids[0] != unknown})

    def _prefix(self, frame: _Frame, report: str) -> list[int]:
        tokens = self._encode_text(report)
        if len(tokens) > min(MAXIMUM_REPORT_TOKENS, self._longest // 2):
            raise ReportTooLong("the report has more tokens than the model may read")
        return frame.before_report + tokens + frame.after_report

    def _branches(self, prompt: Prompt, frame: _Frame) -> list[Branch]:
        branches: list[Branch] = []
        for stem in prompt.stems:
            parent = len(branches)
            branches.append(Branch(self._encode_text(stem.text), None, answers=False))
            for _, question in stem.questions:
                tokens = self._encode_text(question) + frame.after_question
                branches.append(Branch(tokens, parent, answers=True))
        return branches

    def _encode_text(self, text: str) -> list[int]:
        """Encode text in which no special token is recognised, whatever it says."""
        ids: list[int] = self._tokenizer.encode(
            text, add_special_tokens=False, split_special_tokens=True
        )
        return [token for token in ids if token not in self._special]

    def _frame(self, prompt: Prompt) -> _Frame:
        text = self._render(prompt)
        head, rest = text.split(_REPORT, 1)
        middle, tail = rest.split(_QUESTION, 1)
        start: list[int] = self._tokenizer.encode(head, add_special_tokens=False)
        bos = self._tokenizer.bos_token_id
        plain = self._tokenizer.encode("x", add_special_tokens=True)
        if bos is not None and plain[:1] == [bos] and start[:1] != [bos]:
            start = [bos, *start]
        return _Frame(
            start,
            self._tokenizer.encode(middle, add_special_tokens=False),
            self._tokenizer.encode(tail, add_special_tokens=False),
        )

    def _render(self, prompt: Prompt) -> str:
        """Return the chat with placeholders; the template never sees a report."""
        user = f"{prompt.before_report}{_REPORT}{prompt.after_report}{_QUESTION}"
        if not self._tokenizer.chat_template:
            return f"{prompt.system}\n\n{user}\nAnswer:"
        chats = [
            [{"role": "system", "content": prompt.system}, {"role": "user", "content": user}],
            [{"role": "user", "content": f"{prompt.system}\n\n{user}"}],  # no system role
        ]
        for chat in chats:
            try:
                text = self._tokenizer.apply_chat_template(
                    chat, tokenize=False, add_generation_prompt=True
                )
            except Exception as error:  # noqa: BLE001 - templates raise what they like
                failure = error
                continue
            if prompt.system in text and _REPORT in text and _QUESTION in text:
                return str(text)
            failure = ValueError("the template drops a message")
        raise UnusableLanguageModel("the model's chat template cannot be used") from failure


def _by_stem(prompt: Prompt, margins: list[float]) -> list[list[float]]:
    rest = iter(margins)
    return [[next(rest) for _ in stem.questions] for stem in prompt.stems]
