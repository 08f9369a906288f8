"""Language models that play a part in a step, as a policy or a judge: their flags, and how they are reached."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from zs_env.command_options import lay_options, search_option
from zs_env.engines.llm.backend import ChatBackend, make_backend
from zs_env.engines.llm.client import ClientSettings
from zs_env.engines.llm.inprocess import InProcessSettings, is_in_process
from zs_env.errors import ConfigError

__all__ = ["AskedModel", "add_model_flags", "given_model_flags", "reach_model"]

_OWN = ("messages", "stream", "seed", "stop")
_CONTEXT_TOKENS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedModel:
    """A model, and how its replies are sampled.

    Attributes:
        backend: How it is asked.
        name: What it is called in records.
        temperature: Of sampling; None leaves it to the server.
        max_tokens: The longest reply.
        extra: What else stands in each request, such as `{"chat_template_kwargs": {"enable_thinking": False}}`.
    """

    backend: ChatBackend
    name: str
    temperature: float | None
    max_tokens: int
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def identity(self) -> dict[str, Any]:
        """What its replies depend on, in plain JSON types, without addresses and secrets."""
        asked = json.dumps(self.backend.settings.identity, default=repr).encode()
        sampling = {"temperature": self.temperature, "max_tokens": self.max_tokens, "extra": dict(self.extra)}
        return {"name": self.name, "fingerprint": hashlib.sha256(asked).hexdigest()[:16], **sampling}

    def options(self, **more: Any) -> dict[str, Any]:
        """What stands in a request beside its messages."""
        return {"temperature": self.temperature, "max_tokens": self.max_tokens, **more, **self.extra}


def add_model_flags(add: Callable[..., Any], part: str, *, temperature: float, max_tokens: int) -> None:
    """Add `--PART-url` and the others of a model by a parser's `add_argument`."""
    add(
        f"--{part}-url",
        metavar="URL",
        help="its server: any that speaks OpenAI's protocol; several with commas between",
    )
    add(
        f"--{part}-model",
        metavar="NAME",
        help="its name there; without a server smollm2 or a .gguf file, which run here",
    )
    add(f"--{part}-key-env", metavar="NAME", help="the environment variable with the server's key")
    add(f"--{part}-temperature", type=float, metavar="T", help=f"of sampling ({temperature:g})")
    add(f"--{part}-max-tokens", type=int, metavar="N", help=f"of a reply ({max_tokens})")
    add(
        f"--{part}-option",
        action="append",
        default=[],
        type=search_option,
        metavar="NAME=VALUE",
        help="how it is reached, as timeout_s=60, or what else stands in requests, as top_p=0.9 or "
        "chat_template_kwargs.enable_thinking=false; may be given several times",
    )


def given_model_flags(options: argparse.Namespace, part: str) -> list[str]:
    """Which flags of a model were given."""
    names = ("url", "model", "key_env", "temperature", "max_tokens", "option")
    given = [name for name in names if getattr(options, f"{part}_{name}") not in (None, [])]
    return [f"--{part}-{name.replace('_', '-')}" for name in given]


def reach_model(options: argparse.Namespace, part: str, *, temperature: float, max_tokens: int) -> AskedModel:
    """The model that the flags of `add_model_flags` name.

    Raises:
        ConfigError: There is neither a server nor a model that can be loaded here, or an option is wrong.
        MissingPackageError: `aiohttp` or `xllamacpp` is needed and isn't installed.
    """
    url, model = getattr(options, f"{part}_url"), getattr(options, f"{part}_model")
    more = lay_options({}, dict(getattr(options, f"{part}_option")))
    own = [name for name in more if name in _OWN]
    if own:
        raise ConfigError(f"--{part}-option can't set {own[0]!r}, which the command sets itself: leave it out.")
    local = url is None and is_in_process(model)
    if url is None and not local:
        raise ConfigError(
            f"--{part}-url must be the address of an OpenAI-compatible server, such as http://127.0.0.1:6001/v1; or "
            f"--{part}-model 'smollm2' or the path of a .gguf file, which run in this process (got {model!r})."
        )
    known = {item.name for item in fields(InProcessSettings if local else ClientSettings) if item.init}
    reaching = {name: value for name, value in more.items() if name in known}
    settings: ClientSettings | InProcessSettings
    if local:
        assert model is not None
        settings = InProcessSettings(simulation_llm=model, **{"context_tokens": _CONTEXT_TOKENS, **reaching})
    else:
        key_env = getattr(options, f"{part}_key_env")
        settings = ClientSettings(base_url=url, model=model, **{"api_key_env": key_env, **reaching})
    chosen, longest = getattr(options, f"{part}_temperature"), getattr(options, f"{part}_max_tokens")
    return AskedModel(
        backend=make_backend(settings),
        name=settings.model or "the one that is served",
        temperature=temperature if chosen is None else chosen,
        max_tokens=max_tokens if longest is None else longest,
        extra={name: value for name, value in more.items() if name not in known},
    )
