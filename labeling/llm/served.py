"""What a model server says that it serves, asked in the ways of vLLM, llama.cpp and Ollama."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from labeling.llm.addresses import ServerAddress
from labeling.llm.interface import ModelUnavailable, UnusableLanguageModel
from labeling.llm.transport import Refused, Transport

ASSUMED_CONTEXT = 4096
"""Tokens, where the server does not say how many it reads."""

_SHOWN = 10  # names of models in an error
_VOLATILE = frozenset({"created", "permission", "status", "args"})


@dataclass(frozen=True)
class Served:
    """One model of a server, in the server's words.

    Args:
        id: its name there.
        owner: ``owned_by``, which tells the kinds of servers apart.
        stated: what is said of the model and stays the same.
        context: tokens that it reads; None: not said.
        side_by_side: requests that it answers at a time.
        tokenizer: path and body by which it counts tokens; None: it offers none.
    """

    id: str
    owner: str = ""
    stated: Mapping[str, Any] = field(default_factory=dict)
    context: int | None = None
    side_by_side: int = 1
    tokenizer: Callable[[str, str], tuple[str, dict[str, Any]]] | None = None

    def digest(self, fingerprint: str | None) -> str:
        """Return the SHA-256 of what the server says; it is no digest of weights."""
        said = {"server says": dict(self.stated), "system_fingerprint": fingerprint}
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def served_by(transport: Transport, address: ServerAddress, name: str) -> Served:
    """Return what the server says of a model.

    Raises:
        UnusableLanguageModel: it serves no such model, or does not speak this interface.
        ModelUnavailable: it is away.
    """
    answer = transport.get(f"{address.path}/models")
    entries = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(entries, list):
        raise UnusableLanguageModel("the model server lists no models: is url OpenAI-compatible?")
    known = {str(each["id"]): each for each in entries if isinstance(each, dict) and "id" in each}
    entry = known.get(name) or known.get(f"{name}:latest")
    if entry is None:
        names = ", ".join(repr(each)[:100] for each in list(known)[:_SHOWN]) or "nothing"
        raise UnusableLanguageModel(f"the model server has no model {name!r}; it serves {names}")
    owner = str(entry.get("owned_by", ""))[:100]
    plain = Served(
        str(entry["id"]),
        owner,
        {key: value for key, value in entry.items() if key not in _VOLATILE},
        _count(entry.get("max_model_len")),
    )
    more = _KINDS.get(owner)
    return plain if more is None else more(plain, transport, address)


def _vllm(plain: Served, _transport: Transport, _address: ServerAddress) -> Served:
    def count(root: str, text: str) -> tuple[str, dict[str, Any]]:
        return f"{root}/tokenize", {"model": plain.id, "prompt": text}

    return replace(plain, side_by_side=16, tokenizer=count)


def _sglang(plain: Served, _transport: Transport, _address: ServerAddress) -> Served:
    return replace(plain, side_by_side=16)


def _llama_cpp(plain: Served, transport: Transport, address: ServerAddress) -> Served:
    def count(root: str, text: str) -> tuple[str, dict[str, Any]]:
        return f"{root}/tokenize", {"content": text}

    props = _optional(transport, f"{address.root}/props")
    generation = props.get("default_generation_settings")
    context = _count(generation.get("n_ctx")) if isinstance(generation, dict) else None
    slots = _count(props.get("total_slots")) or 1
    return replace(plain, context=context, side_by_side=min(slots, 16), tokenizer=count)


def _llama_cpp_python(plain: Served, _transport: Transport, _address: ServerAddress) -> Served:
    def count(root: str, text: str) -> tuple[str, dict[str, Any]]:
        return f"{root}/extras/tokenize/count", {"input": text}

    return replace(plain, tokenizer=count)


def _ollama(plain: Served, transport: Transport, address: ServerAddress) -> Served:
    """Ollama knows the SHA-256 of what it serves, and cuts off what is longer than its context."""
    tags = _named(_optional(transport, f"{address.root}/api/tags"), plain.id)
    loaded = _named(_optional(transport, f"{address.root}/api/ps"), plain.id)
    digest = tags.get("digest")
    stated = dict(plain.stated) | ({"digest": digest} if isinstance(digest, str) else {})
    return replace(plain, stated=stated, context=_count(loaded.get("context_length")))


_KINDS: dict[str, Callable[[Served, Transport, ServerAddress], Served]] = {
    "vllm": _vllm,
    "llamacpp": _llama_cpp,
    "sglang": _sglang,
    "me": _llama_cpp_python,
    "library": _ollama,
}
"""By what servers write as ``owned_by``."""


def _optional(transport: Transport, path: str) -> dict[str, Any]:
    """Return a JSON object that the server may or may not give."""
    try:
        found = transport.get(path)
    except (Refused, ModelUnavailable):
        return {}
    return found if isinstance(found, dict) else {}


def _named(answer: Mapping[str, Any], name: str) -> dict[str, Any]:
    models = answer.get("models")
    for each in models if isinstance(models, list) else []:
        if isinstance(each, dict) and name in (each.get("name"), each.get("model")):
            return each
    return {}


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 < value < 1 << 31 else None
