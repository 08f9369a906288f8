"""The atlas as a corpus: its own facts as passages, so that a real index can be searched without a download."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

from zs_env.engines.draws import Draws
from zs_env.errors import ConfigError
from zs_env.files import write_text
from zs_env.questions.atlas import SPLITS, Fact, load_atlas

__all__ = ["KINDS", "Kind", "passages", "write_passages"]

Kind = Literal["facts", "entities"]
"""What a passage is.

- `facts`: one fact in a sentence, without a title, just as documents of the template engine are.
- `entities`: all facts about a country or city, with its name for a title, as pages are.
"""

KINDS: tuple[Kind, ...] = get_args(Kind)


def passages(kind: Kind = "facts") -> Iterator[dict[str, str]]:
    """The passages, of all splits, each with `id`, `text` and maybe `title`, in a fixed order and wording.

    Examples:
        >>> next(iter(passages("entities")))["title"]
        'Afghanistan'
    """
    if kind not in KINDS:
        raise ConfigError(f"Passages of the atlas are made of {' or '.join(KINDS)}; got {kind!r}.")
    number = 0
    for split in SPLITS:
        world = load_atlas().world(split)
        for name in world.entities:
            sentences = [_sentence(fact, number + place) for place, fact in enumerate(world.facts_about(name))]
            number += len(sentences)
            if kind == "entities":
                if sentences:
                    yield {"id": f"{split}-{name}", "title": name, "text": " ".join(sentences)}
                continue
            for place, sentence in enumerate(sentences):
                yield {"id": f"{split}-{name}-{place}", "text": sentence}


def _sentence(fact: Fact, number: int) -> str:
    return fact.sentence(Draws(number).below(3))


def write_passages(kind: Kind = "facts", folder: Path | None = None) -> Path:
    """Write the passages to a file of JSON lines, unless it is there already; returns the file.

    Args:
        kind: What a passage is.
        folder: Where; left out: `$ZS_CACHE`, or else the user's cache folder.

    Raises:
        ConfigError: The file can't be written.
    """
    if folder is None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "zs_env"
        folder = Path(os.environ.get("ZS_CACHE") or cache) / "corpora"
    path = folder / f"atlas-{kind}.jsonl"
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in passages(kind))
    try:
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            return path
        folder.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    except OSError as error:
        raise ConfigError(f"{str(path)!r} can't be written: {error}. Name another folder with ZS_CACHE.") from error
    return path
