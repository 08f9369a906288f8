"""`python -m agents export`: a policy as a clean folder in Hugging Face format, with a card that says how to use it."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zs_env.errors import ConfigError

__all__ = ["add_parser", "export", "run"]

_DTYPES = ("float32", "bfloat16", "float16")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `export` to the command line."""
    parser = commands.add_parser(
        "export",
        help="write a policy in Hugging Face format",
        description="Write a run's policy, or any checkpoint, as a folder in Hugging Face format: weights, tokenizer, "
        "a model card with a program that uses it through transformers alone, and nothing of its training.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--model", required=True, metavar="MODEL", help="a run's folder, a checkpoint, or an id of the hub")
    add("--out", type=Path, required=True, metavar="DIR", help="folder to write; it must not exist")
    add("--dtype", metavar="NAME", help="float32, bfloat16 or float16 (that of the checkpoint)")
    add(
        "--prompt",
        metavar="PROMPT",
        help="how it is asked (as in its training, else default): default, short, or a text",
    )
    add("--base-model", metavar="MODEL", help="of a LoRA policy: the model that it was trained over, if it isn't found")
    add(
        "--trust-remote-code", action="store_true", help="let code that comes with the model run here; off unless asked"
    )
    add("--adapters", action="store_true", help="of a LoRA policy: keep the adapters alone instead of merging them")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Export, and tell where it is."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    export(
        options.model,
        options.out,
        dtype=options.dtype,
        prompt=options.prompt,
        base=options.base_model,
        adapters=options.adapters,
        trust_remote_code=options.trust_remote_code,
    )
    sys.stdout.write(f"The model is in {options.out}; {options.out / 'README.md'} says how to use it.\n")


def export(
    model: str,
    out: Path,
    *,
    dtype: str | None = None,
    prompt: str | None = None,
    base: str | None = None,
    adapters: bool = False,
    trust_remote_code: bool = False,
) -> None:
    """Write a policy as a clean folder in Hugging Face format, whole or not at all.

    The adapters of a policy that was trained with LoRA are merged into its weights.

    Args:
        model: A run's folder, a checkpoint, `preset:<folder>`, or an id of the hub.
        out: The folder to write.
        dtype: The type of the weights; left out: that of the checkpoint.
        prompt: How it is asked; left out: as it was in training, which its `zerosearch.json` says, else "default".
        base: Of a LoRA policy: see `load_policy`.
        adapters: Of a LoRA policy: write the adapters alone, in peft's format.
        trust_remote_code: See `load_policy`.

    Raises:
        ConfigError: The folder exists or can't be made, the type or the prompt is unknown, or there are no adapters.
        ModelError: The model can't be loaded.
    """
    from transformers import GenerationConfig

    from agents.config import ModelConfig
    from agents.lora import LoraPolicy, merge_adapters
    from agents.model_card import model_card, usage_snippet
    from agents.policy import load_policy
    from agents.runs import read_checkpoint_settings
    from zs_env.files import write_folder
    from zs_env.prompts import get_prompt

    _check_out(out)
    source = ModelConfig(source=model).path
    if "training" in _read(Path(source) / "config.json"):
        raise ConfigError(f"The run {model!r} has no checkpoint yet: --model takes a run once it has saved one.")
    notes = read_checkpoint_settings(Path(source))
    if adapters and dtype:
        raise ConfigError(
            f"--dtype {dtype} is of weights, and with --adapters none are written: leave one of them out."
        )
    dtype = dtype or notes.get("model", {}).get("dtype") or "float32"
    prompt = prompt or notes.get("episode", {}).get("prompt") or "default"
    get_prompt(prompt)
    if dtype not in _DTYPES:
        raise ConfigError(f"--dtype must be one of {', '.join(_DTYPES)}; got {dtype!r}.")
    loaded = "float32" if not notes.get("model") else str(notes["model"].get("dtype") or "float32")
    policy = load_policy(
        source,
        dtype=loaded,
        use_chat_template=notes.get("model", {}).get("chat_template"),
        base=base,
        trust_remote_code=trust_remote_code,
    )
    summary, settings = _record_of(source, policy.fingerprints()["model"])
    lora = _lora_facts(policy, merged=not adapters)
    if adapters and not isinstance(policy, LoraPolicy):
        raise ConfigError(f"--adapters: {model!r} wasn't trained with LoRA, so it has none. Leave the flag out.")
    below = policy.base.source if isinstance(policy, LoraPolicy) and adapters else None
    if isinstance(policy, LoraPolicy) and not adapters:
        import torch

        policy = merge_adapters(policy, dtype=getattr(torch, dtype))
    # A model may leave it to its tokenizer to say what ends a turn; `generate` asks the model alone. Penalties and the
    # like of the model that training began with would make it another policy than the one that was trained.
    policy.model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        bos_token_id=policy.tokenizer.bos_token_id,
        eos_token_id=list(policy.eos_ids) or None,
        pad_token_id=policy.tokenizer.pad_token_id,
    )
    if dtype != loaded and not lora:
        import torch

        policy.model.to(getattr(torch, dtype))
    began = settings.get("model", {}).get("source") or lora.get("Trained from")
    total = settings.get("training", {}).get("total_steps")  # a run is measured after its last step
    card = model_card(
        snippet=usage_snippet(policy.codec, notes, prompt, adapters_of=below),
        facts=lora
        | _facts(settings, notes, prompt, num_steps=total if summary else _num_steps(source))
        | {"Type of the weights": dtype, "Parameters": f"{_size(policy.model):,}"},
        base_model=began if began and began.count("/") == 1 and ":" not in began else None,
        measured=summary,
        is_adapter=adapters,
    )

    def write(folder: Path) -> None:
        policy.write(folder, settings=_notes_for(notes, dtype, prompt))
        (folder / "README.md").write_text(card, encoding="utf-8")

    write_folder(out, write)


def _check_out(out: Path) -> None:
    """Refuse to overwrite, before anything is loaded."""
    if os.path.lexists(out):
        raise ConfigError(f"--out {str(out)!r} exists already: name a folder that doesn't, or remove it.")
    there = next(folder for folder in out.absolute().parents if folder.exists())
    if not (there.is_dir() and os.access(there, os.W_OK)):
        raise ConfigError(f"--out {str(out)!r} can't be made: {str(there)!r} is no folder that can be written.")


def _record_of(source: str, fingerprint: str) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """What the run that a checkpoint lies in says: its summary, if it measured these very weights, and its settings."""
    # Not resolved: `checkpoint` may be a link into `checkpoints`.
    for run in Path(os.path.abspath(source)).parents[:2]:
        settings = _read(run / "config.json")
        if isinstance(settings.get("run"), dict) and isinstance(settings.get("training"), dict):
            summary = _read(run / "summary.json")
            measured = summary.get("fingerprints", {}).get("model_after") == fingerprint
            return summary if measured else None, settings
    return None, {}


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _num_steps(source: str) -> int | None:
    """How many training steps a checkpoint has behind it, if its folder's name says so."""
    match = re.fullmatch(r"step-(\d+)", Path(source).resolve().name)
    return int(match[1]) if match else None


def _facts(
    settings: Mapping[str, Any], notes: Mapping[str, Any], prompt: str, *, num_steps: int | None
) -> dict[str, Any]:
    """What is known of how the policy came about and is played."""
    facts: dict[str, Any] = {}
    if settings:
        noise = settings.get("noise", {})
        from_noise, to_noise, mix = (noise.get(key) for key in ("start_threshold", "end_threshold", "mix"))
        training = settings["training"]
        facts = {
            "Trained from": settings.get("model", {}).get("source"),
            "Algorithm": settings["run"].get("algorithm"),
            "Steps": f"{'?' if num_steps is None else num_steps} of {training.get('total_steps')}",
            "A step": f"{training.get('questions_per_step')} questions × {training.get('group_size')} episodes",
            "Learning rate": settings.get("optimizer", {}).get("learning_rate"),
            "KL coefficient": training.get("kl_coef"),
            "Seed": settings["run"].get("seed"),
            "Questions": settings.get("questions", {}).get("source"),
            "Chance of noisy documents": (
                f"from {from_noise:g} to {to_noise:g}" if from_noise is not None else str(mix or 0)
            ),
        }
    search, episode, rollout = (notes.get(name, {}) for name in ("search", "episode", "rollout"))
    return facts | {
        "Search engine in training": search.get("mode"),
        "Its language model": search.get("simulation_llm"),
        "Documents a search": search.get("topk"),
        "Reward": episode.get("reward"),
        "Turns an episode": episode.get("max_turns"),
        "Tokens of an episode": rollout.get("max_episode_tokens"),
        "Prompt": repr(prompt),
    }


def _lora_facts(policy: Any, *, merged: bool) -> dict[str, Any]:
    """What to say of adapters; nothing of a policy that has none."""
    from agents.lora import LoraPolicy

    if not isinstance(policy, LoraPolicy):
        return {}
    config = policy.config
    where = "merged into the weights" if merged else "this folder holds nothing else"
    kind = "rsLoRA" if config.use_rslora else "LoRA"
    layers = ", ".join(sorted({name.rpartition(".")[2] for name in policy.target_modules}))
    return {
        "Trained from": policy.base.source or None,
        "Trained with": f"{kind} of rank {config.r}, alpha {config.lora_alpha:g}, on {layers}; {where}",
    }


def _notes_for(notes: Mapping[str, Any], dtype: str, prompt: str) -> dict[str, Any] | None:
    """What `zerosearch.json` says of the exported model: as before, with its new type."""
    from agents.runs import CHECKPOINT_SCHEMA

    if not notes:
        return None
    changed = {"model": notes.get("model", {}) | {"dtype": dtype}, "episode": notes["episode"] | {"prompt": prompt}}
    return {"schema": CHECKPOINT_SCHEMA} | dict(notes) | changed


def _size(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
