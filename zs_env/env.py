"""`SimulatedSearchEnv`: one episode at a time, Gymnasium's way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import gymnasium as gym

from zs_env.bridge import search_async, search_blocking
from zs_env.curriculum import Curriculum
from zs_env.episode import Episode, Step
from zs_env.errors import ConfigError, EpisodeStateError
from zs_env.options import EpisodeMaker, ObservationMode, as_question
from zs_env.render import TranscriptRenderer
from zs_env.rewards import Reward
from zs_env.spaces import PolicyText, UnicodeText
from zs_env.types import QuestionSource, SearchEngine, SearchRequest

__all__ = ["SimulatedSearchEnv", "check_render_mode"]


def check_render_mode(render_mode: str | None, known: Sequence[str]) -> str | None:
    """Return the render mode, or raise a ConfigError that lists the known ones."""
    if render_mode is not None and render_mode not in known:
        raise ConfigError(f"render_mode must be None or one of {list(known)}; got {render_mode!r}.")
    return render_mode


class SimulatedSearchEnv(gym.Env[str, str]):
    """Answer a question by thinking, searching a simulated engine, and answering.

    An action is the policy's text: `<think>…</think>` and then `<search>query</search>` or `<answer>answer</answer>`.
    The observation is the whole transcript so far, or with `observation="new"` what the environment added last;
    `info["new_text"]` is that addition in both cases. `zs_env.episode.Episode` documents `info`, `zs_env.actions` how
    actions are read.

    Args:
        questions: `"atlas"` (built in), a path to a jsonl, json, csv or parquet file, a `QuestionSource`, or a
            sequence of mappings.
        split: Which split of the source; the atlas' is "train" where left out.
        search_mode: What answers searches; `"template"` needs no model and no network.
        simulation_llm: The language model that plays the search engine, for search modes that use one; "smollm2" or
            the path of a `.gguf` file without `base_url` is loaded in this process.
        base_url: Where that model is served.
        check: Whether its documents are checked against what was asked for.
        search_options: What else the search mode's engine takes, by name: `{"persona": "Wikipedia"}`.
        search_around: What is put around the engine, by the names of `zs_env.engines.around.around`:
            `{"cache": "searches.sqlite", "tries": 3}`.
        topk: How many documents a search gives.
        max_turns: The most actions of an episode, invalid ones included.
        reward: "em", "f1", "containment" or "format", a mapping of these to weights, or a callable of an `Outcome`.
        noise_probability: The chance that a search gives noisy documents; 0 where left out.
        curriculum: Instead: `{"start", "end", "total_steps"}` and perhaps `"base"`; see `zs_env.curriculum`.
        observation: "transcript" or "new".
        prompt: "default", "short", or a text of one's own with `{question}` in it.
        max_information_chars: The most characters of one search's documents; None for no limit.
        render_mode: None, "ansi" (`render()` returns text) or "human" (printed as the episode goes).
        engine: A search engine object instead of `search_mode` and its options. It is shared, also by copies of the
            environment.

    Raises:
        ConfigError: An option is wrong, or two contradict each other.
        QuestionError: The questions can't be read.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["ansi", "human"], "render_fps": 4}  # type: ignore[misc]

    def __init__(
        self,
        *,
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
        self.render_mode = check_render_mode(render_mode, self.metadata["render_modes"])
        self.observation_space = UnicodeText()
        self.action_space = PolicyText()
        self.episode: Episode | None = None
        self._noise = self.maker.new_noise()
        self._renderer = TranscriptRenderer(max_turns=max_turns) if render_mode else None

    @property
    def engine(self) -> SearchEngine:
        """The search engine."""
        return self.maker.engine

    @property
    def questions(self) -> QuestionSource:
        """Where questions come from."""
        return self.maker.questions

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: Seeds the environment's generator, from which questions and noise are drawn.
            options: `question` (a `Question`, or a mapping with `question`, `golden_answers` and perhaps `id`) asks
                it in this episode; `noise_probability` holds until the next reset; `training_step` moves the
                curriculum.

        Returns:
            The prompt, and its info.
        """
        super().reset(seed=seed)
        given = self.maker.check_reset_options(options)
        question = None if given.get("question") is None else as_question(given["question"])
        self._noise.move(given, self.maker.curriculum)
        self.episode = self.maker.new_episode(self.np_random, self._noise, question)
        step = self.episode.begin()
        if self._renderer is not None:
            self._renderer.begin(step)
            self._show()
        return (self.episode.transcript if self.maker.observes_transcript else step.new_text), step.info

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Take an action; a search waits for its result (`astep` doesn't hold up an event loop meanwhile).

        Returns:
            Observation, reward, terminated (answered), truncated (out of turns, or its search failed), info.
        """
        episode = self._running()
        out = episode.act(action)
        if isinstance(out, SearchRequest):
            out = episode.observe(search_blocking(self.engine, [out])[0])
        return self._finish(episode, out)

    async def astep(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """The same as `step` for callers with an event loop: other episodes go on while this one searches.

        Gymnasium's wrappers don't forward it: call `env.unwrapped.astep`.
        """
        episode = self._running()
        out = episode.act(action)
        if isinstance(out, SearchRequest):
            out = episode.observe((await search_async(self.engine, [out]))[0])
        return self._finish(episode, out)

    def render(self) -> str | None:
        """The coloured transcript of the episode, with `render_mode="ansi"`; "human" prints by itself."""
        if self.render_mode is None:
            gym.logger.warn("render() does nothing without a render_mode: make the env with 'ansi' or 'human'.")
        if self.render_mode != "ansi":
            return None
        assert self._renderer is not None
        return self._renderer.text

    def _running(self) -> Episode:
        if self.episode is None:
            raise EpisodeStateError("The environment was stepped before its first reset(): call reset() first.")
        return self.episode

    def _finish(self, episode: Episode, step: Step) -> tuple[str, float, bool, bool, dict[str, Any]]:
        if self._renderer is not None:
            self._renderer.turn(episode, step)
            self._show()
        observation = episode.transcript if self.maker.observes_transcript else step.new_text
        return observation, step.reward, step.terminated, step.truncated, step.info

    def _show(self) -> None:
        if self.render_mode == "human":
            assert self._renderer is not None
            self._renderer.print_new()
