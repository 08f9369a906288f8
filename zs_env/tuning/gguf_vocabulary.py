"""A Hugging Face tokenizer as a GGUF file holds it: tokens, merges, special tokens, and how text is cut before merging.

llama.cpp knows cuts by name alone (`tokenizer.ggml.pre`). The name is found by the cut that `tokenizer.json` itself
describes, so that the served model reads text in the very tokens that it was trained with; a cut that isn't known is
refused, since a near miss would change tokens without a word.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from zs_env.errors import ConfigError
from zs_env.tuning.gguf_kinds import require_gguf

__all__ = ["CUTS", "add_vocabulary", "find_cut"]

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?"
    r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)

_BYTE = re.compile("<0x[0-9A-F]{2}>")

_Step = tuple[Any, ...]

CUTS: Mapping[tuple[tuple[_Step, ...], str | None], str] = MappingProxyType(
    {
        ((("ByteLevel", True),), None): "gpt-2",
        ((("Digits", True), ("ByteLevel", True)), None): "smollm",
        ((("Split", _LLAMA3, "Isolated", False), ("ByteLevel", False)), None): "llama-bpe",
        ((("Split", _QWEN2, "Isolated", False), ("ByteLevel", False)), "NFC"): "qwen2",
        ((("Split", _TEKKEN, "Isolated", False), ("ByteLevel", False)), None): "tekken",
    }
)
"""llama.cpp's names of cuts, by the steps of the cut and the normalization before it."""

_CONVERTER = "Give llama.cpp's own convert_hf_to_gguf.py by --converter, which knows more models."


def find_cut(tokenizer: Mapping[str, Any]) -> str:
    """llama.cpp's name of a tokenizer's cut.

    Args:
        tokenizer: The content of a `tokenizer.json`.

    Raises:
        ConfigError: It isn't known.

    Examples:
        >>> find_cut({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}})
        'gpt-2'
    """
    step = tokenizer.get("pre_tokenizer") or {}
    parts = step.get("pretokenizers", [step]) if step.get("type") == "Sequence" else [step]
    normalizer = tokenizer.get("normalizer") or {}
    inner = normalizer.get("normalizers", [normalizer]) if normalizer.get("type") == "Sequence" else [normalizer]
    names = [str(each["type"]) for each in inner if each.get("type")]
    name = CUTS.get((tuple(map(_as_step, parts)), "+".join(names) or None))
    if name is None:
        raise ConfigError(
            f"The way in which this model's tokenizer cuts text isn't known here ({json.dumps(step)[:300]}, "
            f"normalization {names or 'none'}); known are those of {', '.join(CUTS.values())}. {_CONVERTER}"
        )
    return name


def _as_step(step: Mapping[str, Any]) -> _Step:
    kind = step.get("type")
    if kind == "ByteLevel" and not step.get("add_prefix_space"):
        return ("ByteLevel", bool(step.get("use_regex", True)))
    if kind == "Digits":
        return ("Digits", bool(step.get("individual_digits")))
    if kind == "Split":
        pattern = step.get("pattern") or {}
        return ("Split", pattern.get("Regex"), step.get("behavior"), bool(step.get("invert")))
    return (kind, json.dumps(step, sort_keys=True))


def add_vocabulary(writer: Any, folder: Path, config: Mapping[str, Any]) -> None:
    """Write a model's tokenizer into a GGUF file.

    Args:
        writer: The package's `GGUFWriter`.
        folder: The model.
        config: The content of its `config.json`.

    Raises:
        ConfigError: The tokenizer isn't there, or of a kind that isn't known.
    """
    gguf = require_gguf()
    try:
        tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"The folder {folder.name!r} must hold the model's tokenizer as tokenizer.json: {error}. {_CONVERTER}"
        ) from error
    model = tokenizer.get("model") or {}
    if model.get("type") != "BPE":
        raise ConfigError(f"The tokenizer must be of type BPE; this one is of type {model.get('type')!r}. {_CONVERTER}")
    size = int(config["vocab_size"])
    is_sentencepiece = bool(model.get("byte_fallback"))
    tokens, kinds = _tokens(tokenizer, size)
    writer.add_tokenizer_model("llama" if is_sentencepiece else "gpt2")
    writer.add_tokenizer_pre("default" if is_sentencepiece else find_cut(tokenizer))
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    if is_sentencepiece:
        writer.add_token_scores(_scores(tokenizer, tokens))
        writer.add_add_space_prefix(_begins_with_space(tokenizer))
    special = gguf.SpecialVocab(folder, load_merges=not is_sentencepiece, n_vocab=size)
    special.special_token_ids |= _ends(folder, special.special_token_ids.get("eos"))
    special.add_special_token = _added(folder)
    special.add_to_gguf(writer, quiet=True)
    if special.chat_template is None:
        raise ConfigError(
            f"The tokenizer in {folder.name!r} has no chat template (chat_template.jinja, or in tokenizer_config.json)"
            ": a simulator is asked by chat. Save the model with the tokenizer that it was trained with."
        )


def _tokens(tokenizer: Mapping[str, Any], size: int) -> tuple[list[str], list[int]]:
    """All tokens in order, and what each is."""
    kinds = require_gguf().TokenType
    fallback = tokenizer["model"].get("byte_fallback")
    by_id: dict[int, tuple[str, int]] = {
        int(number): (token, kinds.BYTE if fallback and _BYTE.fullmatch(token) else kinds.NORMAL)
        for token, number in tokenizer["model"]["vocab"].items()
    }
    for added in tokenizer.get("added_tokens") or ():
        text = added["content"]
        is_control = added.get("special") or (text.startswith("<|") and text.endswith("|>"))
        by_id[int(added["id"])] = (text, kinds.CONTROL if is_control else kinds.USER_DEFINED)
    if max(by_id) >= size:
        raise ConfigError(
            f"The tokenizer has tokens up to number {max(by_id)}, and the model knows {size}: they don't belong to "
            "each other. Save the model and its tokenizer together."
        )
    rows = [by_id.get(number, (f"[PAD{number}]", kinds.UNUSED)) for number in range(size)]
    return [text for text, _ in rows], [int(kind) for _, kind in rows]


def _scores(tokenizer: Mapping[str, Any], tokens: Sequence[str]) -> list[float]:
    """Scores as sentencepiece has them, by which llama.cpp merges: what is merged first has the highest."""
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(tokenizer["model"]["merges"]):
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        ranks.setdefault(left + right, rank)
    return [-float(ranks.get(token, len(ranks))) for token in tokens]


def _begins_with_space(tokenizer: Mapping[str, Any]) -> bool:
    """Whether a text behind a special token, as all of a chat is, gets a space before it."""
    steps = json.dumps([tokenizer.get("normalizer"), tokenizer.get("pre_tokenizer")])
    return '"Prepend"' in steps or '"prepend_scheme": "always"' in steps


def _added(folder: Path) -> dict[str, bool]:
    """Which special tokens the tokenizer itself puts around a text: said aloud, since llama.cpp would guess."""
    from tokenizers import Tokenizer

    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = tokenizer.encode("a", add_special_tokens=True).ids
    edges = {"bos": ids[0], "eos": ids[-1]}
    return {name: number == tokenizer.token_to_id(_text(config.get(f"{name}_token"))) for name, number in edges.items()}


def _text(token: Any) -> str:
    return token["content"] if isinstance(token, dict) else token or ""


def _ends(folder: Path, eos: int | None) -> dict[str, int]:
    """A further token that ends a turn, where the model's settings for generation name several."""
    try:
        named = json.loads((folder / "generation_config.json").read_text(encoding="utf-8")).get("eos_token_id")
    except (OSError, ValueError):
        return {}
    others = [number for number in named if number != eos] if isinstance(named, list) else []
    return {"eot": others[-1]} if others else {}
