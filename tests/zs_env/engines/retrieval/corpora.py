"""Small corpora and requests for the tests of retrieval."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zs_env.types import Question, SearchRequest

CITIES = (
    {"id": "a", "title": "Lima", "text": "Lima is the capital of Peru, and its largest city."},
    {"id": "b", "title": "Peru", "text": "Peru is a country in South America. Its capitals were many."},
    {"id": "c", "title": "Quito", "text": "Quito is the capital of Ecuador."},
    {"id": "d", "title": "São Paulo", "text": "São Paulo's parks are in Brazil. 東京 isn't."},
)


class Untouchable(Question):
    """A question whose golden answers and text nobody may look at."""

    __slots__ = ("armed",)

    def __getattribute__(self, name: str) -> Any:
        if name in ("golden_answers", "question", "metadata", "id") and hasattr(self, "armed"):
            raise AssertionError(f"a real engine looked at {name}")
        return super().__getattribute__(name)


def untouchable() -> Question:
    question = Untouchable(id="x", question="Which city is the capital of Peru?", golden_answers=("Lima",))
    object.__setattr__(question, "armed", True)
    return question


def request(query: str, topk: int = 3, **more: Any) -> SearchRequest:
    plain = Question(id="x", question="Which city is the capital of Peru?", golden_answers=("Lima",))
    given = {"question": plain, "quality": "useful", "noise_probability": 0.5, "seed": 7, **more}
    return SearchRequest(query=query, topk=topk, **given)


def write(path: Path, rows: Iterable[Mapping[str, Any] | str] = CITIES) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    data = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


class Said(list[str]):
    """Remembers the lines that were said."""

    def __call__(self, line: str) -> None:
        self.append(line)

    @property
    def num_builds(self) -> int:
        return sum("Building" in line for line in self)


def ids(result: Any) -> Sequence[str]:
    assert result.error is None, result.error
    return [document.metadata["id"] for document in result.documents]
