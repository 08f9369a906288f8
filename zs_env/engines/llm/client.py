"""A client of chat servers that speak OpenAI's protocol: sglang, vLLM, llama.cpp's server, and hosted ones."""

from __future__ import annotations

import math
import os
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from zs_env.engines.draws import PRIME, Draws
from zs_env.engines.http import Call, ServiceClient, ServiceSettings, Wording
from zs_env.engines.http.connections import Pool
from zs_env.engines.http.settings import check_number
from zs_env.engines.llm.endpoints import api_key, as_base_urls, keeps_secrets, redact
from zs_env.engines.llm.replies import ChatReply, read_models, read_reply
from zs_env.errors import ChatError, ConfigError

__all__ = ["ChatClient", "ClientSettings", "combine_seed"]

DEFAULT_KEY = "OPENAI_API_KEY"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings(ServiceSettings):
    """How a chat server is reached.

    Attributes:
        base_url: Where the server is, with or without `/v1`; several, in a sequence or with commas between, share the
            work, and stand in for each other when one fails.
        model: The name of the model in requests. Left out: the one that the server says it serves.
        api_key_env: The environment variable that holds the key, which is then sent to every server of `base_url`.
            Left out: `OPENAI_API_KEY`, if it is set, but to addresses with https or on this machine alone; empty: no
            key is sent. The key itself is no setting: it is read when it is needed, and kept nowhere.
        timeout_s: The longest that one try may take.
        connect_timeout_s: The longest that connecting may take.
        deadline_s: The longest that a search may take with all the replies it asks for, their tries, the waits between
            them and for a free connection.
        max_retries: How often a failed try is made again.
        backoff_s: The wait before the second try; it doubles each time, with a random part. A server that says how
            long to wait (`Retry-After`) is heard, if that is within the deadline.
        max_backoff_s: The longest such wait, if the server doesn't say.
        max_connections: How many requests may be at the servers at the same time, from one event loop; 0 for no limit.
        max_response_bytes: The longest reply that is read.
        price_per_million_input_tokens: What a million tokens of prompt cost, in the currency you like.
        price_per_million_output_tokens: What a million tokens of reply cost.
    """

    model: str | None = None
    timeout_s: float = 120.0
    price_per_million_input_tokens: float = 0.0
    price_per_million_output_tokens: float = 0.0

    def __post_init__(self) -> None:
        ServiceSettings.__post_init__(self)
        for name in ("price_per_million_input_tokens", "price_per_million_output_tokens"):
            check_number(name, getattr(self, name))
        if self.model is not None and (not isinstance(self.model, str) or not self.model.strip()):
            raise ConfigError(
                f"The name of the model must be a text that isn't empty; got {self.model!r}. Leave it out, and the "
                "server is asked which one it serves."
            )

    @staticmethod
    def read_urls(value: Any) -> tuple[str, ...]:
        """The servers, each ending in its version, as `http://127.0.0.1:6001/v1`."""
        return as_base_urls(value)

    @property
    def identity(self) -> list[Any]:
        """What replies depend on: the model, or its server if it has no name."""
        return [self.model] if self.model else [None, self.base_url]

    def key_for(self, url: str) -> str | None:
        """The key that a server is sent, from the environment; None if there is none, or it isn't for that server.

        Raises:
            ConfigError: It can't be sent.
        """
        if self.api_key_env is None:
            return api_key(DEFAULT_KEY) if keeps_secrets(url) else None
        return api_key(self.api_key_env)

    def key_advice(self, url: str) -> str:
        """What to do if a server refuses the key that it was sent, or not sent."""
        if self.api_key_env is None and not keeps_secrets(url) and os.environ.get(DEFAULT_KEY):
            return (
                f"{DEFAULT_KEY} is sent by default to addresses with https or on this machine alone, and this is "
                f"neither. Give api_key_env={DEFAULT_KEY!r} to send it there all the same, where anyone on the way can "
                "read it."
            )
        return ServiceSettings.key_advice(self, url)


class ChatClient(ServiceClient[ClientSettings]):
    """Asks chat servers, from any number of threads and event loops.

    Args:
        settings: How.

    Raises:
        MissingPackageError: `aiohttp` isn't installed.
    """

    wording: ClassVar[Wording] = Wording(
        asking="Asking a chat server",
        server="an OpenAI-compatible server",
        reply="a chat completion",
        missing="model or path",
        if_missing="simulation_llm and base_url",
        if_refused="simulation_llm and the settings of generation",
        if_too_long="does base_url lead to a chat server? Lower max_tokens if it does.",
        error=ChatError,
    )

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
            seed: The draw of this request. It goes to the server, and the waits between tries come from it.
            options: What else stands in the request: `max_tokens`, `temperature`, …; those that are None are left out.
            send_seed: Whether the server is told the seed.
            deadline: When the reply must be there, by `time.monotonic()`, for requests that share one. Left out:
                `deadline_s` from now.

        Raises:
            ChatError: No server gave a usable reply within the settings' limits.
        """
        body = {
            "model": self.settings.model or "",
            "messages": messages if isinstance(messages, list) else list(messages),
            "seed": seed if send_seed else None,
            "stream": False,
        }
        if options:
            body.update(options)
        body = {name: value for name, value in body.items() if value is not None}

        def attempt(pool: Pool, url: str, call: Call) -> Coroutine[Any, Any, ChatReply]:
            return self._attempt(pool, url, call, body)

        return await self._call(attempt, seed=seed, deadline=deadline)

    async def _attempt(self, pool: Pool, url: str, call: Call, body: dict[str, Any]) -> ChatReply:
        settings = self.settings
        if not body.get("model"):
            body = {**body, "model": await self._learn(pool, url, call.deadline, self._served_model)}
        payload = await self._request(pool, "POST", url, "/chat/completions", body, call.deadline)
        text, cut, read, written = read_reply(payload, url)
        cost = read * settings.price_per_million_input_tokens + written * settings.price_per_million_output_tokens
        return ChatReply(
            text=text,
            cut=cut,
            model=str(body["model"]),
            input_tokens=read,
            output_tokens=written,
            cost=cost / 1e6,
            retries=len(call.failures),
        )

    async def _served_model(self, pool: Pool, url: str) -> str:
        """The one model that a server serves.

        Raises:
            ChatError: It serves none, or several, or doesn't say.
        """
        names = read_models(await self._request(pool, "GET", url, "/models", None, math.inf))
        if len(names) == 1 and names[0]:
            return str(names[0])
        shown = redact(", ".join(names[:10]), self.settings.key_for(url))
        raise ChatError(
            f"{url} serves {len(names)} models{f' ({shown})' if names else ''}, so that one must be named: give "
            "simulation_llm."
        )


def combine_seed(seed: int, attempt: int) -> int:
    """The seed of one try, in [0, 2**31 - 1), which every server takes: the first try and the next are far apart."""
    return Draws(seed * 1_000_003 + attempt).below(PRIME)
