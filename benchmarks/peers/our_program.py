"""Our own environments, behind the same talk as the peers', in a process of their own as well."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from importlib.metadata import version
from typing import Any

import gymnasium as gym
import numpy as np

import zs_env
from benchmarks.fanout_server import answer_of, documents_of, query_of, question_of
from benchmarks.peers.speaking import Turn, as_action, check_read, serve
from benchmarks.stepping import play_each, play_vector
from zs_env.engines import make_engine
from zs_env.episode import Episode, EpisodeSettings
from zs_env.types import Document, Question, SearchRequest, SearchResult

__all__ = ["OurSide", "ReadyEngine"]

STEPS = {
    "vector env": "SimulatedSearchVectorEnv.step, documents ready made; whole transcript",
    "single env": "SimulatedSearchEnv.step and .reset, documents ready made; whole transcript",
    "vector env, template engine": "the same vector env with the built-in engine, which writes the documents",
    "single env, template engine": "the same env with the built-in engine",
}
TURNS = {
    "vector step": "SimulatedSearchVectorEnv.step with simulate_prompt, documents checked against the golden answers",
    "rollouts": "Episode.act, one engine.search an episode, Episode.observe, as agents.rollout does; same engine",
    "vector step, retrieval": "SimulatedSearchVectorEnv.step with wiki (Search-R1's protocol, one query a request)",
}


class ReadyEngine:
    """Has its documents already.

    Args:
        found: Documents by query.
    """

    name = "ready"

    def __init__(self, found: dict[str, tuple[Document, ...]]) -> None:
        self._found = found

    async def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """See `SearchEngine`."""
        return self.search_now(requests)

    def search_now(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """See `SyncSearchEngine`."""
        return [SearchResult(documents=self._found[request.query], engine="ready") for request in requests]


class OurSide:
    """Our environments."""

    def describe(self) -> dict[str, Any]:
        """See `Side`."""
        packages = {"zerosearch-env": zs_env.__version__}
        packages |= {name: version(name) for name in ("gymnasium", "numpy", "aiohttp")}
        return {"packages": packages, "steps": STEPS, "turns": TURNS}

    def player(self, way: str, num_envs: int) -> Callable[[int], int]:
        """See `Side`."""
        options: dict[str, Any] = {}
        if "template" not in way:
            questions = _questions(num_envs)
            found = {each.question: tuple(map(Document, documents_of(i))) for i, each in enumerate(questions)}
            options = {"questions": questions, "engine": ReadyEngine(found)}
            first = gym.make("ZeroSearch-v0", disable_env_checker=True, **options)
            first.reset(options={"question": questions[0]})
            check_read(first.step(as_action(question_of(0)))[0], 0)
        if way.startswith("vector"):
            envs = gym.make_vec("ZeroSearch-v0", num_envs=num_envs, autoreset_mode="SameStep", **options)
            return play_vector(envs, seed=0)
        single: list[gym.Env[str, str]] = [
            gym.make("ZeroSearch-v0", disable_env_checker=True, **options) for _ in range(num_envs)
        ]
        return play_each(single, seed=0)

    def turn(self, way: str, episodes: int, url: str) -> Turn:
        """See `Side`."""
        limit = max(1024, episodes)
        if way == "vector step, retrieval":
            engine = make_engine("wiki", base_url=url, protocol="search-r1", batch_size=1, max_connections=limit)
            return VectorTurn(engine, episodes)
        engine = make_engine(
            "simulate_prompt", simulation_llm="m", base_url=f"{url}/v1", check=True, max_connections=limit
        )
        return VectorTurn(engine, episodes) if way == "vector step" else RolloutTurn(engine, episodes)


def _questions(number: int) -> list[Question]:
    return [Question(id=str(i), question=question_of(i), golden_answers=(answer_of(i),)) for i in range(number)]


class VectorTurn:
    """A step of the vector environment."""

    def __init__(self, engine: Any, episodes: int) -> None:
        self._engine = engine
        self._questions = _questions(episodes)
        self._envs = gym.make_vec(
            "ZeroSearch-v0", num_envs=episodes, questions=self._questions, engine=engine, noise_probability=0.0
        )
        self._actions = [as_action(query_of(i)) for i in range(episodes)]

    def prepare(self, *, cold: bool) -> None:
        """See `Turn`."""
        if cold:
            self._engine.close()
        self._envs.reset(seed=0, options={"question": self._questions})

    def play(self) -> list[str]:
        """See `Turn`."""
        return list(self._envs.step(self._actions)[0])

    def close(self) -> None:
        """See `Turn`."""
        self._envs.close()
        self._engine.close()


class RolloutTurn:
    """One search an episode, each observed as it comes."""

    def __init__(self, engine: Any, episodes: int) -> None:
        self._engine = engine
        self._questions = _questions(episodes)
        self._actions = [as_action(query_of(i)) for i in range(episodes)]
        self._settings = EpisodeSettings()
        self._episodes: list[Episode] = []
        self._runner = asyncio.Runner()

    def prepare(self, *, cold: bool) -> None:
        """See `Turn`."""
        if cold:
            self._run(self._engine.aclose())
        self._episodes = [
            Episode(question, self._settings, np.random.default_rng(i)) for i, question in enumerate(self._questions)
        ]
        for episode in self._episodes:
            episode.begin()

    def play(self) -> list[str]:
        """See `Turn`."""
        texts: list[str] = self._run(self._play())
        return texts

    async def _play(self) -> list[str]:
        return list(await asyncio.gather(*map(self._search, self._episodes, self._actions)))

    async def _search(self, episode: Episode, action: str) -> str:
        request = episode.act(action)
        assert isinstance(request, SearchRequest)
        [result] = await self._engine.search([request])
        step = episode.observe(result)
        return step.new_text

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(work)

    def close(self) -> None:
        """See `Turn`."""
        with contextlib.suppress(RuntimeError):
            self._run(self._engine.aclose())
        self._runner.close()


if __name__ == "__main__":
    serve(OurSide)
