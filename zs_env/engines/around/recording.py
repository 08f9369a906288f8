"""A record of all searches, from which a run can be replayed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from zs_env.engines.around.base import Steps, Wrapper, failed
from zs_env.engines.around.keys import request_key, to_json, without_secrets
from zs_env.engines.around.records import RecordWriter
from zs_env.types import SearchEngine, SearchRequest, SearchResult

__all__ = ["RecordingEngine"]


class RecordingEngine(Wrapper):
    """Writes every search and its result into a file, the failed ones too; `ReplayEngine` gives them again.

    See `records` for the file. A record that is there already is added to. Golden answers are not in it, nor is what
    looks like a key or a password in an error; it is taken out of the result as well, so that a replay gives the same.
    A search that can't be recorded has failed and says so, for its replay would.

    Args:
        engine: What is asked.
        path: The file.
        draw: Whether the draw counts in telling searches apart; left out: what the engine says by `uses_draw`.

    Raises:
        ConfigError: The file is something else, or of another engine, or can't be written.
    """

    def __init__(self, engine: SearchEngine, path: str | Path, *, draw: bool | None = None) -> None:
        super().__init__(engine)
        self._draw = super().uses_draw if draw is None else draw
        header = {"engine": self.name, "fingerprint": self.fingerprint, "draw": self._draw}
        self._writer = RecordWriter(path, header)

    @property
    def uses_draw(self) -> bool:
        """Whether answers depend on the draw."""
        return self._draw

    def close(self) -> None:
        """Close the file."""
        self._writer.close()

    def _steps(self, requests: list[SearchRequest]) -> Steps:
        if not requests:
            return []
        results = [
            result if result.error is None else replace(result, error=without_secrets(result.error))
            for result in (yield requests)
        ]
        try:
            self._write(requests, results)
        except (OSError, TypeError, ValueError) as error:
            why = (
                f"The search can't be recorded: {type(error).__name__}: {error}. Mend that, or search without a record."
            )
            return [failed(self.name, why, "unwritten")] * len(results)
        return results

    def _write(self, requests: Sequence[SearchRequest], results: Sequence[SearchResult]) -> None:
        self._writer.write(
            [
                {
                    "key": request_key(request, draw=self._draw),
                    "query": request.query,
                    "question": request.question.id,
                    "quality": request.quality,
                    "seed": int(request.seed),
                    "topk": int(request.topk),
                    "result": to_json(result),
                }
                for request, result in zip(requests, results, strict=True)
            ]
        )
