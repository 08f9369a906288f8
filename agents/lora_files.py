"""Loading adapters: a checkpoint of a LoRA run, an exported adapter, or one of peft's own.

    <folder>/
      adapter_config.json          peft's; its base_model_name_or_path is what the base was loaded from
      adapter_model.safetensors    the factors
      tokenizer.json, …
      zerosearch.json              as in every checkpoint, and in it "lora": which weights are below, by fingerprint

The weights themselves are not in it. They are looked for where they came from: on the hub, among the presets, or for a
folder of one's own under its name, in the run's link `base` or in the folder that one is in.
"""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from agents.errors import ModelError
from agents.lora import ADAPTER_WEIGHTS, LoraBase, LoraPolicy, cast_weights, inject, merge_adapters, require_peft
from agents.policy import ADAPTER_CONFIG, SETTINGS_FILE, Policy, load_policy
from zs_env.errors import ConfigError

__all__ = ["BASE_LINK", "load_adapters"]

BASE_LINK = "base"
"""In a run's folder: a link to the folder that its adapters were trained over."""

_MORE = {
    "modules_to_save": None,
    "bias": "none",
    "use_dora": False,
    "lora_bias": False,
    "layer_replication": None,
    "target_parameters": None,
    "trainable_token_indices": None,
}
"""What else adapters may be in peft, and what these keys say if they aren't."""


def load_adapters(
    folder: Path, *, base: str | None, dtype: str, use_chat_template: bool | None, **options: Any
) -> LoraPolicy:
    """Load a policy with adapters and the weights below them.

    Args:
        folder: See the module.
        base: Where the weights are; left out: see the module.
        dtype: The type of the weights in memory. They are checked in the type that they were trained in.
        use_chat_template: See `TextCodec`.
        options: See `load_policy`.

    Raises:
        ConfigError: The weights can't be found, or are others than those that the adapters were trained over.
        ModelError: The adapters can't be read, or are of a kind that isn't LoRA alone.
        MissingPackageError: peft isn't installed.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from transformers import AutoTokenizer

    require_peft()
    config, note = _read_config(folder), _read_note(folder)
    try:
        state = load_file(folder / ADAPTER_WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"The adapters in {str(folder)!r} can't be read: {error}") from error
    source = base or _find_base(folder, note, config.base_model_name_or_path)
    below = _load_base(folder, source, note, dtype=dtype, **options)
    found = note or LoraBase(
        source=config.base_model_name_or_path or "",
        is_local=False,
        fingerprint=below.fingerprints()["model"],
        dtype=dtype,
    )
    if below.model.dtype != getattr(torch, dtype):
        cast_weights(below.model, getattr(torch, dtype))
    tokenizer: Any = below.tokenizer
    if (folder / "tokenizer_config.json").is_file():
        tokenizer = AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=options.get("trust_remote_code", False)
        )
    inject(below.model, config)
    policy = LoraPolicy(below.model, tokenizer, base=found, use_chat_template=use_chat_template)
    policy.load_adapter_state(state)
    return policy


def _load_base(folder: Path, source: str, note: LoraBase | None, *, dtype: str, **options: Any) -> Policy:
    """The weights below the adapters, having made sure that they are those that were trained over."""
    from agents.config_sections import ModelConfig

    try:
        below = load_policy(ModelConfig(source=source).path, dtype=note.dtype if note else dtype, **options)
    except ModelError as error:
        raise ConfigError(
            f"The model that the adapters in {str(folder)!r} belong to can't be loaded. {error}"
        ) from error
    if isinstance(below, LoraPolicy):
        below = merge_adapters(below)
    fingerprint = below.fingerprints()["model"]
    if note is not None and fingerprint != note.fingerprint:
        raise ConfigError(
            f"The adapters in {str(folder)!r} were trained over weights with the fingerprint {note.fingerprint}, and "
            f"those of {source!r} have {fingerprint}: with them it would be another policy. {_way_out(note)}"
        )
    return below


def _find_base(folder: Path, note: LoraBase | None, recorded: str | None) -> str:
    """Where the weights are, by what is recorded."""
    if note is None:
        if recorded:
            return recorded
        raise ConfigError(f"Adapters alone in {str(folder)!r} don't say what they were trained over. {_way_out(None)}")
    if not note.is_local and note.source:
        return note.source
    here = folder.resolve()  # `checkpoint` is a link into `checkpoints`
    places = [run / BASE_LINK for run in here.parents[:2]] + ([Path(note.source)] if note.source else [])
    for place in places:
        if place.resolve() == here:  # these adapters are another run's base themselves
            continue
        if any((place / name).is_file() for name in ("config.json", ADAPTER_CONFIG)):
            return str(place)
    named = f"{note.source!r}, which isn't here" if note.source else "a model whose place wasn't recorded"
    raise ConfigError(f"The adapters in {str(folder)!r} were trained over {named}. {_way_out(note)}")


def _way_out(note: LoraBase | None) -> str:
    named = f" {note.source!r}" if note and note.source else ""
    return (
        f"A record holds names, not paths: give the model{named} with --base-model PATH (or --model PATH, for a run "
        "that goes on; `load_policy(…, base=PATH)` in Python)."
    )


def _read_config(folder: Path) -> Any:
    """`adapter_config.json`, refusing adapters that are more than LoRA."""
    peft = require_peft()
    try:
        record = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        kind = record["peft_type"]
        more = [f"{key}={record[key]!r}" for key, none in _MORE.items() if record.get(key) not in (none, None, [])]
        if kind == "LORA" and not more:
            return peft.LoraConfig.from_pretrained(str(folder), inference_mode=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{str(folder / ADAPTER_CONFIG)!r} can't be read: {error}") from error
    raise ModelError(
        f"The adapter in {str(folder)!r} is of type {kind!r}{' with ' if more else ''}{', '.join(more)}: plain LoRA "
        "can be loaded, and nothing else. Merge it with peft (`merge_and_unload`) and give the merged model."
    )


def _read_note(folder: Path) -> LoraBase | None:
    """What `zerosearch.json` says of the base; None if there is none."""
    path = folder / SETTINGS_FILE
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8")).get("lora")
        return None if record is None else LoraBase(**{item.name: record[item.name] for item in fields(LoraBase)})
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(f"{str(path)!r} can't be read: {error}") from error
