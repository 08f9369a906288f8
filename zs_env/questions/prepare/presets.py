"""Short names for the article's data sets.

FlashRAG's collection holds a configuration for each, with the columns `id`, `question`, `golden_answers` and
`metadata`. HotpotQA, 2WikiMultihopQA and MuSiQue have no answered test split there; the article and Search-R1 test on
their `dev`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from zs_env.errors import ConfigError
from zs_env.questions.prepare.settings import TRAIN, Source

__all__ = ["FLASHRAG", "HOPS", "ZEROSEARCH", "expand"]

ZEROSEARCH = "hf:sunhaonlp/ZeroSearch_dataset"
_COLLECTION = "hf:RUC-NLPIR/FlashRAG_datasets"

FLASHRAG: Mapping[str, str] = MappingProxyType(
    {
        "nq": "test",
        "triviaqa": "test",
        "popqa": "test",
        "hotpotqa": "dev",
        "2wikimultihopqa": "dev",
        "musique": "dev",
        "bamboogle": "test",
    }
)
"""The seven sets, and the split of each that is tested on."""

_WITH_TRAIN = ("nq", "triviaqa", "hotpotqa", "2wikimultihopqa", "musique")

HOPS: Mapping[str, int] = MappingProxyType(
    {"nq": 1, "triviaqa": 1, "popqa": 1, "hotpotqa": 2, "2wikimultihopqa": 2, "bamboogle": 2}
)
"""How many facts a question of a set asks to be joined, where that is the same for all of the set."""


def expand(source: Source) -> tuple[Source, ...]:
    """The sources that a short name stands for; any other source alone.

    `zerosearch` is the article's data set. `flashrag` is the seven sets' questions to test on, or with another split
    those of the sets that have it; `flashrag:<set>` is one of them.

    Examples:
        >>> expand(Source(place="flashrag:hotpotqa"))[0].place, expand(Source(place="flashrag:hotpotqa"))[0].split
        ('hf:RUC-NLPIR/FlashRAG_datasets:hotpotqa', 'dev')

    Raises:
        ConfigError: `flashrag:` has something else behind it than one of the seven.
    """
    place, at, revision = source.place.partition("@")
    family, _, one = place.partition(":")
    if place == "zerosearch":
        return (replace(source, place=f"{ZEROSEARCH}{at}{revision}"),)
    if family != "flashrag":
        return (source,)
    if one and one not in FLASHRAG:
        raise ConfigError(
            f"{source.place!r}: flashrag has {', '.join(FLASHRAG)}; got {one!r}. For others, write {_COLLECTION}:<set>."
        )
    tested = source.split in (None, "test")
    names = [one] if one else [name for name in FLASHRAG if source.split != TRAIN or name in _WITH_TRAIN]
    return tuple(
        replace(
            source,
            place=f"{_COLLECTION}:{name}{at}{revision}",
            split=FLASHRAG[name] if tested else source.split,
            into=source.into or ("test" if tested else source.split),
            data_source=name,
        )
        for name in names
    )
