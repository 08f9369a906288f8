"""LoRA: training small factors beside frozen weights, instead of the weights.

Source: LoRA (arXiv 2106.09685): a linear layer W becomes W + s·B·A with A [rank, inputs] drawn and B [outputs, rank] 0,
so training begins with exactly the model that it was given. s = alpha / rank, or with rsLoRA (arXiv 2312.03732)
alpha / √rank. Where this differs from the paper:

- All linear layers of the trunk are adapted by default; the paper adapts the attention's.
- There is no dropout, so that learner and sampler are one and the same policy.
- A is drawn from the run's seed, layer by layer in the order of their names, whatever else draws random numbers.

The layers are `peft`'s, put into the model in place: the policy's model stays the transformers model that it was, so
sampler, log-probs and codec see no difference. The factors are float32 whatever the type of the weights is.
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from agents.errors import ModelError
from agents.policy import SETTINGS_FILE, Policy, TokenLogprobs, hash_weights
from zs_env.curriculum import check_whole
from zs_env.errors import ConfigError, require

__all__ = [
    "ADAPTER_WEIGHTS",
    "ALL_LINEAR",
    "PEFT_PREFIX",
    "LoraBase",
    "LoraPolicy",
    "LoraSettings",
    "add_adapters",
    "cast_weights",
    "inject",
    "merge_adapters",
    "merged_state",
    "require_peft",
]

ALL_LINEAR = "all-linear"
"""What `target_modules` calls all linear layers but the output head."""

ADAPTER_WEIGHTS = "adapter_model.safetensors"

PEFT_PREFIX = "base_model.model."
"""What peft's files put before the name of a layer."""

_NAME = "default"
_SUFFIX = f".{_NAME}.weight"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraSettings:
    """[lora]: see the module.

    Attributes:
        rank: Of the factors; 0 trains the weights themselves, without LoRA.
        alpha: What the product is scaled with, divided by the rank (or its root); left out: twice the rank.
        target_modules: "all-linear", or the last parts of layers' names, such as `["q_proj", "v_proj"]`.
        use_rslora: Whether alpha is divided by the root of the rank, which suits high ranks.
        dropout: Always 0; it is here to say so.
    """

    rank: int = 0
    alpha: float | None = None
    target_modules: str | tuple[str, ...] = ALL_LINEAR
    use_rslora: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_whole("rank", self.rank, least=0)
        if self.alpha is not None and not 0 < self.alpha < math.inf:
            raise ConfigError(f"alpha must be a finite number above 0; got {self.alpha!r}.")
        if self.alpha is not None and not self.rank:
            raise ConfigError(f"alpha={self.alpha:g} scales LoRA, and there is none with rank 0: give a rank, too.")
        if isinstance(self.target_modules, str):
            if self.target_modules != ALL_LINEAR:
                raise ConfigError(
                    f"target_modules must be {ALL_LINEAR!r} or a list of names; got {self.target_modules!r}. For one "
                    f"name, give [{self.target_modules!r}]."
                )
        else:
            object.__setattr__(self, "target_modules", tuple(self.target_modules))
            if not self.target_modules:
                raise ConfigError(f"target_modules names no layer: give names, or {ALL_LINEAR!r}.")
        if self.dropout != 0:
            raise ConfigError(
                f"dropout must be 0; got {self.dropout!r}: the learner's log-probs would not be those of the sampler, "
                "so the ratio between them would be noise."
            )

    @property
    def scale(self) -> float:
        """Alpha, with its default filled in."""
        return 2.0 * self.rank if self.alpha is None else self.alpha


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraBase:
    """The model under adapters.

    Attributes:
        source: What it was loaded from: an id of the hub, `preset:<folder>`, or a folder's name without its path.
        is_local: Whether `source` is a folder's name.
        fingerprint: Of its weights.
        dtype: The type of its weights.
    """

    source: str
    is_local: bool
    fingerprint: str
    dtype: str


class LoraPolicy(Policy):
    """A policy of frozen weights with adapters, which alone are trained and saved.

    Args:
        model: A model with `peft`'s layers in it; see `add_adapters`.
        tokenizer: Its tokenizer.
        base: What it was before.
        use_chat_template: See `TextCodec`.
    """

    def __init__(self, model: Any, tokenizer: Any, *, base: LoraBase, use_chat_template: bool | None = None) -> None:
        super().__init__(model, tokenizer, use_chat_template=use_chat_template)
        self.base = base
        self._lock, self._num_without = threading.Lock(), 0

    @property
    def config(self) -> Any:
        """The adapters' configuration, peft's `LoraConfig`."""
        return self.model.peft_config[_NAME]

    @property
    def target_modules(self) -> list[str]:
        """Names of the layers that are adapted, or their last parts."""
        given = self.config.target_modules
        return [given] if isinstance(given, str) else sorted(given)

    def adapter_state(self) -> dict[str, Tensor]:
        """The factors, under the names of peft's files. They are the parameters' own memory."""
        return {
            f"{PEFT_PREFIX}{name.removesuffix(_SUFFIX)}.weight": parameter.detach()
            for name, parameter in _adapter_parameters(self.model)
        }

    def load_adapter_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `adapter_state` gave.

        Raises:
            ModelError: Names or shapes are others.
        """
        own = self.adapter_state()
        wrong = sorted(own.keys() ^ state.keys())
        wrong += sorted(name for name in own.keys() & state.keys() if own[name].shape != state[name].shape)
        if wrong:
            raise ModelError(
                f"These adapters aren't those of this model: {len(wrong)} of {len(own)} factors are missing, "
                f"unknown or of another shape, for example {wrong[0]!r}."
            )
        with torch.no_grad():
            for name, factor in own.items():
                factor.copy_(state[name])

    def fingerprints(self) -> dict[str, str]:
        """Short hashes: `model` of weights and adapters, `base` of the weights alone, and `tokenizer`."""
        config = self.config
        scaling = repr((config.r, float(config.lora_alpha), config.use_rslora))
        parts = (self.base.fingerprint, hash_weights(self.adapter_state()), scaling)
        whole = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
        return {"model": whole, "base": self.base.fingerprint, "tokenizer": self.tokenizer_hash()}

    def take_weights(self, other: Policy) -> None:
        """Take another policy's adapters, in place; it must be of the same base.

        Raises:
            ModelError: It has other adapters, or none.
        """
        if not isinstance(other, LoraPolicy):
            raise ModelError("A policy with adapters can take those of another one; the other has none.")
        self.load_adapter_state(other.adapter_state())

    def write(self, folder: Path, *, settings: Mapping[str, Any] | None = None) -> None:
        """Write adapters in peft's format, tokenizer, and `zerosearch.json`, which says what the base was.

        See `Policy.save`.
        """
        from safetensors.torch import save_file

        record = {**self.config.to_dict(), "base_model_name_or_path": self.base.source, "inference_mode": True}
        text = json.dumps(record, indent=2, sort_keys=True, default=_plain)
        (folder / "adapter_config.json").write_text(text + "\n", encoding="utf-8")
        state = {name: factor.cpu().contiguous() for name, factor in self.adapter_state().items()}
        save_file(state, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
        self.tokenizer.save_pretrained(folder)
        text = json.dumps({**(settings or {}), "lora": asdict(self.base)}, indent=2, ensure_ascii=False)
        (folder / SETTINGS_FILE).write_text(text + "\n", encoding="utf-8")

    @contextmanager
    def without_adapters(self) -> Iterator[None]:
        """Within this, the model is its base. Threads may enter side by side; all of them see the base."""
        with self._lock:
            self._num_without += 1
            if self._num_without == 1:
                _enable(self.model, False)
        try:
            yield
        finally:
            with self._lock:
                self._num_without -= 1
                if not self._num_without:
                    _enable(self.model, True)

    def reference(self) -> Policy:
        """The base as a policy: this very model with its adapters disabled, so it takes no memory."""
        return _Reference(self)


class _Reference(Policy):
    """The base of a policy with adapters, for its log-probs alone."""

    def __init__(self, policy: LoraPolicy) -> None:
        super().__init__(policy.model, policy.tokenizer, use_chat_template=policy.codec.use_chat_template)
        self._policy = policy

    def token_logprobs(self, *given: Any, **options: Any) -> TokenLogprobs:
        with self._policy.without_adapters():
            return super().token_logprobs(*given, **options)

    def fingerprints(self) -> dict[str, str]:
        return {"model": self._policy.base.fingerprint, "tokenizer": self.tokenizer_hash()}

    def sampler(self, *given: Any, **options: Any) -> Any:
        raise ModelError("A reference shares its model with the policy, so it gives log-probs and nothing else.")

    def take_weights(self, other: Policy) -> None:
        raise ModelError("A reference stays as it is.")

    def write(self, folder: Path, *, settings: Mapping[str, Any] | None = None) -> None:
        raise ModelError("A reference shares its model with the policy; save the model that the policy began with.")


def require_peft() -> ModuleType:
    """The package `peft`.

    Raises:
        MissingPackageError: It can't be imported; the message says how to install it.
    """
    return require("peft", needed_for="LoRA", install='pip install "peft>=0.17,<1"')


def add_adapters(policy: Policy, settings: LoraSettings, *, seed: int, source: str = "") -> LoraPolicy:
    """Freeze a policy's weights and put adapters beside them. What it says is as before until they are trained.

    Args:
        policy: Its model is changed in place; the policy itself is of no more use.
        settings: Of at least rank 1.
        seed: Of the factors.
        source: Where the weights came from, so that a saved adapter finds them again: an id of the hub, a folder, or
            `preset:<folder>`. Left out: who loads it must say.

    Raises:
        ConfigError: The policy has adapters already, the model has no such layers, or they can't be adapted.
        MissingPackageError: peft isn't installed.
    """
    from agents.config_sections import ModelConfig

    peft = require_peft()
    if isinstance(policy, LoraPolicy):
        raise ConfigError("The policy has adapters already: merge them first (`agents.lora.merge_adapters`).")
    if not settings.rank:
        raise ConfigError("rank is 0, which means no LoRA: adapters need a rank of at least 1.")
    given = settings.target_modules
    config = peft.LoraConfig(
        r=settings.rank,
        lora_alpha=settings.scale,
        target_modules=given if isinstance(given, str) else list(given),
        use_rslora=settings.use_rslora,
        task_type="CAUSAL_LM",
    )
    base = LoraBase(
        source=ModelConfig(source=source).shown if source else "",
        is_local=bool(source) and Path(source).exists(),
        fingerprint=policy.fingerprints()["model"],
        dtype=str(policy.model.dtype).removeprefix("torch."),
    )
    inject(policy.model, config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(_adapter_parameters(policy.model)):
            drawn = torch.zeros(parameter.shape)
            if ".lora_A." in name:  # as peft and the authors' code draw it
                torch.nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=generator)
            parameter.copy_(drawn)
    return LoraPolicy(policy.model, policy.tokenizer, base=base, use_chat_template=policy.codec.use_chat_template)


def inject(model: Any, config: Any) -> None:
    """Put `peft`'s layers into a model, in place; the weights are frozen, the factors are float32 and trained.

    Raises:
        ConfigError: The model has no such layers, or they can't be adapted.
    """
    peft = require_peft()
    linear = {name.rpartition(".")[2] for name, part in model.named_modules() if isinstance(part, torch.nn.Linear)}
    try:
        with torch.random.fork_rng(devices=[]):  # peft draws factors of its own
            peft.inject_adapter_in_model(config, model, _NAME)
    except (ValueError, NotImplementedError) as error:
        raise ConfigError(
            f"target_modules={config.target_modules!r} can't be adapted: {error} Linear layers of this model: "
            f"{', '.join(sorted(linear))}."
        ) from error
    adapted = dict(_adapter_parameters(model))
    heads = [part for part in (model.get_input_embeddings(), model.get_output_embeddings()) if part is not None]
    if any(isinstance(part, _layer_type()) for part in heads) or not adapted:
        raise ConfigError(
            f"target_modules={config.target_modules!r} must be layers between the embeddings and the output head, "
            f"which may share their weights. Linear layers of this model: {', '.join(sorted(linear))}."
        )
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for parameter in adapted.values():
        parameter.data = parameter.data.float()
        parameter.requires_grad_(True)


def merged_state(policy: Policy) -> dict[str, Tensor]:
    """The weights of the plain model that does what the policy does, under that model's own names.

    A policy without adapters gives its own. Merged weights W + s·B·A are computed in float32 and rounded to the type of
    W; all others share the model's memory.
    """
    layers, merged = _layers(policy.model), {}
    for name, value in policy.model.state_dict().items():
        layer, _, kind = name.rpartition(".base_layer.")
        if layer in layers:
            merged[f"{layer}.{kind}"] = _merged_weight(layers[layer], value.dtype) if kind == "weight" else value
        elif not name.endswith(_SUFFIX):
            merged[name] = value
    return merged


def merge_adapters(policy: LoraPolicy, *, dtype: torch.dtype | None = None) -> Policy:
    """The plain model that does what the policy does; see `merged_state`.

    Args:
        policy: Its model is changed in place; the policy itself is of no more use.
        dtype: The type of the new weights; left out: that of the base. They are rounded once.
    """
    model = policy.model
    with torch.no_grad():
        for name, layer in _layers(model).items():
            plain = layer.base_layer
            plain.weight.data = _merged_weight(layer, dtype or plain.weight.dtype)
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, plain)
    del model.peft_config
    model.requires_grad_(True)
    if dtype is not None:
        cast_weights(model, dtype)
    return Policy(model, policy.tokenizer, use_chat_template=policy.codec.use_chat_template)


def cast_weights(model: torch.nn.Module, dtype: torch.dtype) -> None:
    """Change the type of a model's parameters, in place, and not that of its buffers.

    `model.to(dtype)` would round the frequencies of rotary embeddings as well, which `from_pretrained` never does.
    """
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)


@torch.no_grad()
def _merged_weight(layer: Any, dtype: torch.dtype) -> Tensor:
    merged: Tensor = layer.base_layer.weight.float() + layer.get_delta_weight(_NAME).float()
    return merged.to(dtype)


def _layer_type() -> Any:
    return require_peft().tuners.tuners_utils.BaseTunerLayer


def _layers(model: Any) -> dict[str, Any]:
    """Name to layer of all that are adapted; none of a model without adapters."""
    if not hasattr(model, "peft_config"):
        return {}
    kind = _layer_type()
    return {name: part for name, part in model.named_modules() if isinstance(part, kind)}


def _adapter_parameters(model: Any) -> list[tuple[str, torch.nn.Parameter]]:
    return [(name, value) for name, value in model.named_parameters() if name.endswith(_SUFFIX)]


def _enable(model: Any, enabled: bool) -> None:
    for layer in _layers(model).values():
        layer.enable_adapters(enabled)


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, set) else str(value)
