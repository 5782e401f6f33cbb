"""A reading and what is said after it, as the messages of a chat with a server.

A server applies its own chat template, and many read special tokens wherever they stand; so texts
that look like such tokens are taken out here, whatever the caller did.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from labeling.llm.interface import Reading, UnusableLanguageModel

MARKERS = frozenset(
    {
        "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_sep|>",
        "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
        "<|eot_id|>", "<|eom_id|>", "<|python_tag|>",
        "<s>", "</s>", "<bos>", "<eos>", "<pad>", "<unk>", "[INST]", "[/INST]",
        "<<SYS>>", "<</SYS>>", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]",
        "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]",
        "[TOOL_RESULTS]", "[/TOOL_RESULTS]",
        "<start_of_turn>", "<end_of_turn>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>",
        "<|start|>", "<|message|>", "<|channel|>", "<|return|>", "<|call|>",
        "<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<think>", "</think>",
        "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>",
        "<\uff5cUser\uff5c>", "<\uff5cAssistant\uff5c>",
        "<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<\uff5cend\u2581of\u2581sentence\uff5c>",
    }
)  # fmt: skip
"""Texts by which known chat formats tell roles apart; a server does not say which is its own."""

_SPECIAL = re.compile(r"<[|\uff5c][^<>|\uff5c\n]{1,48}[|\uff5c]>")


def messages(
    reading: Reading, turns: Sequence[str], ending: str = "", *, merged: bool = False
) -> list[dict[str, str]]:
    """Return the messages of a chat that ends with the user's last turn.

    Args:
        reading: stands in the first turn of the user, before ``turns[0]``.
        turns: of user and assistant, an odd number.
        ending: continues the last turn.
        merged: the model knows no system role, so its words begin the first turn.

    Raises:
        UnusableLanguageModel: an even number of turns.
    """
    if len(turns) % 2 == 0:
        raise UnusableLanguageModel("the turns after a report do not end with the user's")
    report = harmless(reading.report)
    said = [harmless(turn) for turn in turns]
    said[0] = f"{reading.before}{report}{reading.after}{said[0]}"
    said[-1] += ending
    if merged:
        said[0] = f"{reading.system}\n\n{said[0]}"
    chat = [
        {"role": ("user", "assistant")[number % 2], "content": text}
        for number, text in enumerate(said)
    ]
    return chat if merged else [{"role": "system", "content": reading.system}, *chat]


def harmless(text: str) -> str:
    """Return a text without what a server could take for special tokens."""
    while (cut := _SPECIAL.sub(" ", text)) != text:
        text = cut
    return text
