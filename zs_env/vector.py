"""`SimulatedSearchVectorEnv`: many episodes in one step, all of their searches in one call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from zs_env.bridge import search_async, search_blocking
from zs_env.curriculum import Curriculum, check_whole
from zs_env.env import check_render_mode
from zs_env.episode import Episode, Step
from zs_env.errors import ActionError, ConfigError, EpisodeStateError
from zs_env.options import EpisodeMaker, ObservationMode, as_question
from zs_env.render import TranscriptRenderer
from zs_env.rewards import Reward
from zs_env.spaces import PolicyText, UnicodeText
from zs_env.types import Question, QuestionSource, SearchEngine, SearchRequest, SearchResult

__all__ = ["SimulatedSearchVectorEnv"]

Stepped = tuple[tuple[str, ...], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]

_COLUMN_TYPES: dict[str, type] = {
    "turn": np.int64,
    "num_searches": np.int64,
    "seed": np.int64,
    "noise_probability": np.float64,
    "exact_match": np.float64,
    "f1": np.float64,
    "latency_s": np.float64,
    "cost": np.float64,
    "contains_golden": np.bool_,
    "cached": np.bool_,
    "cut": np.bool_,
}
"""The type of an info column; object where not listed."""


class SimulatedSearchVectorEnv(VectorEnv[tuple[str, ...], Sequence[str], NDArray[Any]]):
    """`num_envs` environments that share their questions and their engine.

    One `step` takes every action, sends all searches to the engine in one call, and hands the documents back.
    Environment i behaves as a `SimulatedSearchEnv` seeded with `seed + i`. `info` has Gymnasium's form: a column of
    `num_envs` values a key, with a mask `_key` of those that hold one; `info["search"]` is such a mapping of columns
    itself.

    Args:
        num_envs: How many, at least 1.
        autoreset_mode: `AutoresetMode`, or its value as a string: "NextStep" (the step after an episode's end resets
            and ignores the action), "SameStep" (the step that ends an episode resets too; the last observation and
            info are in `info["final_obs"]` and `info["final_info"]`) or "Disabled" (the caller resets, with
            `options={"reset_mask": …}`).
        max_episode_steps: Truncate after so many steps, as Gymnasium's TimeLimit does; None for no such limit.
        questions: This and all others: see `SimulatedSearchEnv`.

    Raises:
        ConfigError: An option is wrong, or two contradict each other.
        QuestionError: The questions can't be read.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 4}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int = 1,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        questions: str | QuestionSource | Sequence[Any] = "atlas",
        split: str | None = None,
        search_mode: str = "template",
        simulation_llm: str | None = None,
        base_url: str | Sequence[str] | None = None,
        check: bool | None = None,
        search_options: Mapping[str, Any] | None = None,
        search_around: Mapping[str, Any] | None = None,
        topk: int = 5,
        max_turns: int = 5,
        reward: str | Mapping[str, float] | Reward = "em",
        noise_probability: float | None = None,
        curriculum: Curriculum | Mapping[str, Any] | None = None,
        observation: ObservationMode = "transcript",
        prompt: str = "default",
        max_information_chars: int | None = 20_000,
        render_mode: str | None = None,
        engine: SearchEngine | None = None,
    ) -> None:
        super().__init__()
        self.num_envs = check_whole("num_envs", num_envs, least=1)
        self.autoreset_mode = _autoreset_mode(autoreset_mode)
        self._max_episode_steps = (
            None if max_episode_steps is None else check_whole("max_episode_steps", max_episode_steps, least=1)
        )
        self.maker = EpisodeMaker(
            questions=questions,
            split=split,
            search_mode=search_mode,
            simulation_llm=simulation_llm,
            base_url=base_url,
            check=check,
            search_options=search_options,
            search_around=search_around,
            topk=topk,
            max_turns=max_turns,
            reward=reward,
            noise_probability=noise_probability,
            curriculum=curriculum,
            observation=observation,
            prompt=prompt,
            max_information_chars=max_information_chars,
            engine=engine,
        )
        self.metadata = {**type(self).metadata, "autoreset_mode": self.autoreset_mode}
        self.render_mode = check_render_mode(render_mode, self.metadata["render_modes"])
        self.single_observation_space = UnicodeText()
        self.single_action_space = PolicyText()
        # Gymnasium's `batch_space` would copy the space for each environment: seconds for thousands of them.
        self.observation_space = spaces.Tuple((self.single_observation_space,) * num_envs)
        self.action_space = spaces.Tuple((self.single_action_space,) * num_envs)
        self.episodes: list[Episode] = []
        self._generators: list[np.random.Generator | None] = [None] * num_envs
        self._seeds: list[int] = [-1] * num_envs
        self._noises = [self.maker.new_noise() for _ in range(num_envs)]
        self._observations: list[str] = [""] * num_envs
        self._elapsed = [0] * num_envs
        self._ended = [False] * num_envs
        self._renderers = [TranscriptRenderer(max_turns=max_turns) for _ in range(num_envs)] if render_mode else None

    @property
    def engine(self) -> SearchEngine:
        """The search engine that all environments share."""
        return self.maker.engine

    @property
    def questions(self) -> QuestionSource:
        """Where questions come from."""
        return self.maker.questions

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """The seed of each environment's generator; -1 where there is none yet."""
        return tuple(self._seeds)

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """Each environment's generator."""
        return tuple(self._generator(i) for i in range(self.num_envs))

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[tuple[str, ...], dict[str, Any]]:
        """Begin an episode in every environment, or in those that `reset_mask` names.

        Args:
            seed: Environment i is seeded with `seed + i`; or one seed (or None) for each.
            options: As `SimulatedSearchEnv.reset`'s; `question` may be a list with one for each environment, and
                `reset_mask`, a bool array of shape `[num_envs]`, says which environments to reset.

        Returns:
            Every environment's observation, and the info of those that were reset.
        """
        seeds = self._spread_seeds(seed)
        given = self.maker.check_reset_options(options, "reset_mask")
        questions = self._spread_questions(given.get("question"))
        chosen = self._chosen(given.get("reset_mask"))
        for i in chosen:
            self._noises[i].move(given, self.maker.curriculum)
        if not self.episodes:
            if len(chosen) < self.num_envs:
                raise EpisodeStateError("The first reset() must reset every environment: leave out reset_mask.")
            self.episodes = [None] * self.num_envs  # type: ignore[list-item]
        infos = []
        for i in chosen:
            if (one_seed := seeds[i]) is not None:
                self._generators[i], self._seeds[i] = seeding.np_random(one_seed)
            infos.append((i, self._begin(i, questions[i])))
        return tuple(self._observations), self._columns(infos)

    def step(self, actions: Sequence[str]) -> Stepped:
        """Take one action in every environment, and wait for their searches together.

        Returns:
            Observations (one text each), rewards `[num_envs]`, terminated `[num_envs]`, truncated `[num_envs]`, info.
        """
        steps, waiting, requests = self._act(actions)
        return self._finish(steps, waiting, search_blocking(self.engine, requests))

    async def astep(self, actions: Sequence[str]) -> Stepped:
        """The same as `step` for callers with an event loop (`await envs.unwrapped.astep(actions)`)."""
        steps, waiting, requests = self._act(actions)
        return self._finish(steps, waiting, await search_async(self.engine, requests))

    def render(self) -> tuple[str, ...] | None:
        """Each environment's coloured transcript, with `render_mode="ansi"`."""
        return None if self._renderers is None else tuple(renderer.text for renderer in self._renderers)

    def _act(self, actions: Sequence[str]) -> tuple[list[Step | None], list[int], list[SearchRequest]]:
        """Give every episode its action; None stands for a step that is yet to come (a search, or a reset)."""
        self._check_actions(actions)
        steps: list[Step | None] = [None] * self.num_envs
        waiting, requests = [], []
        ended, episodes = self._ended, self.episodes
        for i, action in enumerate(actions):
            if ended[i]:
                continue
            out = episodes[i].act(action)
            if type(out) is SearchRequest:
                waiting.append(i)
                requests.append(out)
            else:
                steps[i] = out  # type: ignore[assignment]
        return steps, waiting, requests

    def _finish(self, steps: list[Step | None], waiting: list[int], results: list[SearchResult]) -> Stepped:
        episodes, observations = self.episodes, self._observations
        for i, result in zip(waiting, results, strict=True):
            steps[i] = episodes[i].observe(result)
        whole = self.maker.observes_transcript
        same_step = self.autoreset_mode is AutoresetMode.SAME_STEP
        rewards = np.zeros(self.num_envs)
        terminated = np.zeros(self.num_envs, dtype=np.bool_)
        truncated = np.zeros(self.num_envs, dtype=np.bool_)
        infos: list[tuple[int, dict[str, Any]]] = []
        finals: list[tuple[int, str, dict[str, Any]]] = []
        for i, step in enumerate(steps):
            if step is None:
                infos.append((i, self._begin(i)))
                continue
            observations[i] = episodes[i].transcript if whole else step.new_text
            self._elapsed[i] += 1
            over = self._max_episode_steps is not None and self._elapsed[i] >= self._max_episode_steps
            if self._renderers is not None:
                self._renderers[i].turn(episodes[i], step)
            if not (step.terminated or step.truncated or over):
                infos.append((i, step.info))
                continue
            rewards[i], terminated[i], truncated[i] = step.reward, step.terminated, step.truncated or over
            if same_step:
                finals.append((i, observations[i], step.info))
                infos.append((i, self._begin(i)))
            else:
                self._ended[i] = True
                infos.append((i, step.info))
        info = self._columns(infos)
        if finals:
            info.update(self._final_columns(finals))
        return tuple(observations), rewards, terminated, truncated, info

    def _begin(self, i: int, question: Question | None = None) -> dict[str, Any]:
        episode = self.maker.new_episode(self._generator(i), self._noises[i], question)
        self.episodes[i] = episode
        self._elapsed[i] = 0
        self._ended[i] = False
        step = episode.begin()
        self._observations[i] = step.new_text
        if self._renderers is not None:
            self._renderers[i].begin(step)
        return step.info

    def _generator(self, i: int) -> np.random.Generator:
        generator = self._generators[i]
        if generator is None:
            generator, self._seeds[i] = seeding.np_random()
            self._generators[i] = generator
        return generator

    def _check_actions(self, actions: Sequence[str]) -> None:
        """Refuse bad actions before any episode has moved."""
        if not self.episodes:
            raise EpisodeStateError("The environments were stepped before their first reset(): call reset() first.")
        if isinstance(actions, str) or len(actions) != self.num_envs:
            got = "one str" if isinstance(actions, str) else f"{len(actions)}"
            raise ActionError(f"step() takes a sequence of num_envs={self.num_envs} texts; got {got}.")
        for i, action in enumerate(actions):
            if not isinstance(action, str):
                raise ActionError(
                    f"An action is the policy's text, a str; env {i} got {type(action).__name__}: {action!r:.100}."
                )
        if self.autoreset_mode is AutoresetMode.DISABLED and any(self._ended):
            raise EpisodeStateError(
                f"Environments {[i for i, ended in enumerate(self._ended) if ended][:10]} have ended and autoreset is "
                "disabled: reset them with reset(options={'reset_mask': mask}) first."
            )

    def _spread_seeds(self, seed: int | Sequence[int | None] | None) -> Sequence[int | None]:
        if seed is None:
            return [None] * self.num_envs
        if isinstance(seed, Sequence | np.ndarray):
            if len(seed) != self.num_envs:
                raise ConfigError(f"A list of seeds needs num_envs={self.num_envs} of them; got {len(seed)}.")
            return [None if one is None else check_whole("seed", one, least=0) for one in seed]
        return [check_whole("seed", seed, least=0) + i for i in range(self.num_envs)]

    def _spread_questions(self, question: Any) -> Sequence[Question | None]:
        if question is None:
            return [None] * self.num_envs
        if isinstance(question, list | tuple):
            if len(question) != self.num_envs:
                raise ConfigError(f"A list of questions needs num_envs={self.num_envs} of them; got {len(question)}.")
            return [None if one is None else as_question(one) for one in question]
        return [as_question(question)] * self.num_envs

    def _chosen(self, mask: Any) -> Sequence[int]:
        if mask is None:
            return range(self.num_envs)
        array = np.asarray(mask)
        if array.shape != (self.num_envs,) or array.dtype != np.bool_ or not array.any():
            raise ConfigError(
                f"reset_mask must be a bool array of shape ({self.num_envs},) with at least one True; "
                f"got {mask!r:.100}."
            )
        return [int(i) for i in np.flatnonzero(array)]

    def _columns(self, infos: Sequence[tuple[int, dict[str, Any]]]) -> dict[str, Any]:
        """Turn infos, in the order of their environments, into Gymnasium's columns: all of one shape at once."""
        shapes: dict[tuple[str, ...], tuple[list[int], list[dict[str, Any]]]] = {}
        for i, info in infos:
            shape = tuple(info)
            group = shapes.get(shape)
            if group is None:
                group = shapes[shape] = ([], [])
            group[0].append(i)
            group[1].append(info)
        columns: dict[str, Any] = {}
        searches: list[tuple[int, dict[str, Any]]] = []
        for shape, (indices, group_infos) in shapes.items():
            whole = len(indices) == self.num_envs
            for key, values in zip(shape, zip(*map(itemgetter(*shape), group_infos), strict=True), strict=True):
                mask = columns.get(f"_{key}")
                if mask is None:
                    mask = columns[f"_{key}"] = np.zeros(self.num_envs, dtype=np.bool_)
                mask[indices] = True
                if key == "search":
                    searches.extend(zip(indices, values, strict=True))
                    continue
                dtype = _COLUMN_TYPES.get(key, object)
                part: NDArray[Any] = np.fromiter(values, dtype=dtype, count=len(values))
                if whole:
                    columns[key] = part
                    continue
                if key not in columns:
                    columns[key] = np.full(self.num_envs, None if dtype is object else dtype(0), dtype=dtype)
                columns[key][indices] = part
        if searches:
            if len(shapes) > 1:
                searches.sort(key=itemgetter(0))
            columns["search"] = self._columns(searches)
        return columns

    def _final_columns(self, finals: Sequence[tuple[int, str, dict[str, Any]]]) -> dict[str, Any]:
        observations: NDArray[Any] = np.full(self.num_envs, None, dtype=object)
        mask = np.zeros(self.num_envs, dtype=np.bool_)
        for i, observation, _ in finals:
            observations[i] = observation
            mask[i] = True
        final_info = self._columns([(i, info) for i, _, info in finals])
        return {"final_obs": observations, "_final_obs": mask, "final_info": final_info, "_final_info": mask.copy()}


def _autoreset_mode(mode: AutoresetMode | str) -> AutoresetMode:
    if isinstance(mode, AutoresetMode):
        return mode
    known: Iterable[AutoresetMode] = AutoresetMode
    for one in known:
        if isinstance(mode, str) and mode.replace("_", "").casefold() == one.value.replace("_", "").casefold():
            return one
    raise ConfigError(f"autoreset_mode must be one of {[one.value for one in AutoresetMode]}; got {mode!r}.")
