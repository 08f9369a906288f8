"""Reads chat completions and lists of models. Pure functions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from zs_env.actions import clean_text
from zs_env.errors import ChatError

__all__ = ["ChatReply", "read_models", "read_reply"]

_MAX_TOKENS_COUNTED = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatReply:
    """What the model wrote.

    Attributes:
        text: Its text; empty if it wrote none.
        cut: Whether it was cut off at the limit of tokens.
        model: The model's name, as it was asked for.
        input_tokens: Tokens of the prompt, as the server counts them; 0 if it doesn't.
        output_tokens: Tokens of the reply, likewise.
        cost: What both cost by the settings' prices.
        retries: Tries that failed before this one.
    """

    text: str
    cut: bool = False
    model: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    retries: int = 0


def read_reply(payload: dict[str, Any], url: str) -> tuple[str, bool, int, int]:
    """The text of a chat completion, whether it was cut, and the tokens of prompt and reply.

    Raises:
        ChatError: It has no choice.
    """
    text, cut = _read_choice(payload, url)
    used = payload.get("usage")
    counts = used if isinstance(used, dict) else {}
    return text, cut, _count(counts.get("prompt_tokens")), _count(counts.get("completion_tokens"))


def read_models(payload: dict[str, Any]) -> list[str]:
    """The names of the models that a server serves."""
    rows = payload.get("data")
    if not isinstance(rows, list):
        return []
    return [row["id"] for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str)]


def _read_choice(payload: dict[str, Any], url: str) -> tuple[str, bool]:
    choices = payload.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise ChatError(
            f"{url} replied without choices: does base_url lead to an OpenAI-compatible server, and does its model "
            "take chats?",
            retried=True,
        )
    content = message.get("content")
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "".join(part for part in parts if isinstance(part, str))
    text = clean_text(content) if isinstance(content, str) else ""
    return text, choice.get("finish_reason") == "length"


def _count(value: Any) -> int:
    """A number of tokens, if it is one."""
    if type(value) is int and 0 <= value <= _MAX_TOKENS_COUNTED:
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return 0
    return int(min(max(value, 0), _MAX_TOKENS_COUNTED))
