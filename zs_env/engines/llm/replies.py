"""Reads what a chat server replied: a usable reply, or an error that says what to do. Pure functions."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from zs_env.actions import clean_text
from zs_env.engines.llm.endpoints import redact, retry_after_s
from zs_env.errors import ChatError

__all__ = ["ChatReply", "read_json", "read_models", "read_reply"]

_RETRIED = frozenset((408, 409, 425, 429))
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


def read_json(
    raw: bytes,
    status: int,
    kind: str,
    waits: str | None,
    url: str,
    *,
    key: str | None,
    key_advice: Callable[[str], str],
) -> dict[str, Any]:
    """The JSON object of a reply.

    Args:
        raw: The reply's body.
        status: Its HTTP status.
        kind: Its content type.
        waits: Its `Retry-After` header.
        url: The server.
        key: What mustn't stand in an error.
        key_advice: What to do if that server refuses the key.

    Raises:
        ChatError: It is anything else, or says that something is wrong.
    """
    try:
        payload: Any = json.loads(raw)
    except (ValueError, RecursionError):
        payload = None
    if status == 200 and isinstance(payload, dict) and not payload.get("error"):
        return payload
    said = redact(_message(payload) or raw[:2_000].decode(errors="replace"), key)
    what = f"HTTP {status}: {said}" if said else f"HTTP {status}"
    if status in (401, 403):
        raise ChatError(f"{url} refuses the key ({what}): {key_advice(url)}")
    if status == 404:
        raise ChatError(f"{url} has no such model or path ({what}): check simulation_llm and base_url.")
    if 300 <= status < 400:
        raise ChatError(f"{url} sends its callers elsewhere ({what}): give the address that it names as base_url.")
    if status == 429 or status == 503:
        raise ChatError(
            f"{url} is too busy ({what}): lower max_connections, or add a server.",
            retried=True,
            retry_after_s=retry_after_s(waits),
        )
    if 400 <= status < 500:
        raise ChatError(
            f"{url} refuses the request ({what}): check simulation_llm and the settings of generation.",
            retried=status in _RETRIED,
            retry_after_s=retry_after_s(waits),
        )
    if status >= 500:
        raise ChatError(
            f"{url} fails ({what}): see the server's log.", retried=True, retry_after_s=retry_after_s(waits)
        )
    kind = redact(kind, key)
    raise ChatError(
        f"{url} replied with something other than a chat completion ({kind or 'no content type'}: {said}): does "
        "base_url lead to an OpenAI-compatible server?",
        retried=True,
    )


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


def _message(payload: Any) -> str:
    """What a server says about its failure."""
    for _ in range(3):
        if isinstance(payload, dict):
            payload = next((payload[name] for name in ("error", "message", "detail") if payload.get(name)), None)
    return payload if isinstance(payload, str) else ""


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
