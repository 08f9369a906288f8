"""One question, as an agent sees it: its text, a model that writes, an engine that searches, and a place to answer.

Underneath is one `zs_env.episode.Episode`: a search is its `<search>` action and the answer its `<answer>` action, so
draws of noise, the check for golden answers, the cutting of documents and the scores are the episode's own. An agent
never sees a golden answer, and a document reaches it escaped and on one line, never parsed.
"""

from __future__ import annotations

import re
import time

import numpy as np

from agents.conversation import EpisodeTask, RolloutSettings, episode_generator, record_search
from agents.samplers.base import ConversationKey
from agents.trajectory import SearchRecord, TrajectoryStatus
from benchmarks.leaderboard.agents.table import GameOver, Table
from benchmarks.leaderboard.agents.talk import DOCUMENTS, Notes, Talk, fill
from benchmarks.leaderboard.agents.turns import Turns, make_turns
from benchmarks.leaderboard.episodes import PlayedEpisode
from zs_env.episode import Episode, EpisodeSettings, Step
from zs_env.errors import EngineContractError
from zs_env.prompts import render_prompt
from zs_env.rewards import containment_score, exact_match_score, f1_score
from zs_env.types import SearchRequest, SearchResult

__all__ = ["Game"]

_BEGINNING_TOKENS = 16
"""Room for what a model's text begins with."""

_TAGS = re.compile(r"</?(?:think|search|answer|information)>")


def _inside(block: str) -> str:
    """The documents of an `<information>` block, a line each."""
    return block.removeprefix("\n<information>\n").removesuffix("\n</information>\n")


class Game:
    """One question that is played.

    Args:
        task: The question, and where its randomness comes from.
        table: Who writes and who searches.
        episode_settings: The rules.
        rollout: The budgets, in tokens of the table's codec.
        seed: The run's seed.

    Attributes:
        question: The question's text; a template's slot `{question}` takes it escaped.
    """

    def __init__(
        self,
        task: EpisodeTask,
        *,
        table: Table,
        episode_settings: EpisodeSettings,
        rollout: RolloutSettings,
        seed: int,
    ) -> None:
        self.question = task.question.question
        self._escaped = render_prompt("{question}", self.question)
        self._task, self._table, self._rollout, self._seed = task, table, rollout, seed
        self._settings = episode_settings
        self._episode = Episode(
            task.question, episode_settings, episode_generator(seed, task.key), task.noise_probability
        )
        self._episode.begin()
        self._notes = Notes(np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(*task.key, 1))))
        self._searches: list[SearchRecord] = []
        self._talks: list[ConversationKey] = []
        self._turns: Turns | None = None
        self._invalid = 0
        self._began = time.perf_counter()

    @property
    def topk(self) -> int:
        """How many documents a search asks for."""
        return self._settings.topk

    @property
    def max_turns(self) -> int:
        """The most actions, the answer included."""
        return self._settings.max_turns

    @property
    def searches_left(self) -> int:
        """How many searches may follow, if the last action is to be the answer."""
        return 0 if self._episode.done else max(self._settings.max_turns - self._episode.num_turns - 1, 0)

    def talk(self, template: str, /, *, begin: str = "", **values: str) -> Talk:
        """Begin a conversation with the model.

        Args:
            template: The user's message, or what a base model is to continue. `{question}` is the question; the slot
                `{documents}` holds text of the environment.
            begin: What the model's own text is to begin with; on a server, what the user's message ends with.
            values: What is laid into other slots.

        Raises:
            GameOver: The prompt doesn't fit the budget.
        """
        key = (*self._task.key, len(self._talks))
        parts = fill(template, {"question": self._escaped, **values})
        talk = Talk(parts, table=self._table, notes=self._notes, rollout=self._rollout, key=key, begin=begin)
        self._talks.append(key)
        return talk

    async def search(self, query: str, /, *, within: str, into: Talk | None = None, **values: str) -> str | None:
        """Search.

        Args:
            query: What for.
            within: The template that the documents are to be laid into, in its slot `{documents}`: they are cut so that
                it fits, with what the model may write after it.
            into: The talk that it will be laid into; a new one if left out.
            values: What is laid into the template's other slots.

        Returns:
            The documents, a line each; None if no more searches are allowed, or there is nothing to search for.

        Raises:
            GameOver: The search failed.
        """
        query = _TAGS.sub(" ", query).strip()
        if not query or self.searches_left < 1:
            return None
        request = self._episode.act(f"<search>{query}</search>")
        assert isinstance(request, SearchRequest)
        result = await self._table.search(request)

        def fits(block: str) -> bool:
            return self._fits(fill(within, {"question": self._escaped, **values, DOCUMENTS: _inside(block)}), into)

        try:
            step = self._episode.observe(result, fits=fits)
        except EngineContractError as error:
            name = str(getattr(result, "engine", "?"))
            step = self._episode.observe(SearchResult(documents=(), engine=name, error=str(error)))
        self._searches.append(record_search(step))
        self._go_on(step)
        return _inside(step.new_text)

    def _fits(self, parts: list[tuple[str | None, str]], into: Talk | None) -> bool:
        text = "".join(part for _, part in parts)
        if into is not None:
            return into.has_room(text, searches_left=self.searches_left)
        needed = len(self._table.codec.encode_first(text)) + _BEGINNING_TOKENS + self._rollout.max_new_tokens
        return needed <= self._rollout.max_episode_tokens

    def answer(self, text: str | None) -> None:
        """End with an answer; with none, if there is nothing in the text."""
        said = _TAGS.sub(" ", text or "").strip()
        if said and not self._episode.done:
            self._episode.act(f"<answer>{said}</answer>")

    def invalid(self) -> None:
        """The model wrote no action where one was due.

        Raises:
            GameOver: That was the last turn.
        """
        self._invalid += 1
        step = self._episode.act("")
        assert isinstance(step, Step)
        self._go_on(step)

    def _go_on(self, step: Step) -> None:
        if step.terminated or step.truncated:
            error = step.info["search"]["error"] if "search" in step.info else None
            raise GameOver(step.info["status"], error)

    def turns(self) -> Turns:
        """Play by the environment's own protocol, think, search, answer: see `agents.turns`."""
        self._turns = make_turns(self._task, self._table, self._settings, self._rollout, self._seed, self._notes)
        self._talks.append(self._task.key)
        return self._turns

    def end(self, set_name: str, index: int, over: GameOver | None = None) -> PlayedEpisode:
        """What became of it.

        Args:
            set_name: The suite's set that the question is of.
            index: Its place among the set's played questions.
            over: What ended it before the agent did.
        """
        self._table.forget(self._talks)
        question, outcome = self._task.question, self._episode.outcome
        status: TrajectoryStatus = "out_of_turns" if outcome is None else outcome.status
        answer = None if outcome is None else outcome.answer
        searches, turns, invalid = self._searches, self._episode.num_turns, self._invalid
        error = None
        if self._turns is not None:
            played = self._turns.trajectory
            status, answer, error = played.status, played.answer, played.error
            searches, turns, invalid = played.searches, len(played.actions), played.actions.count("invalid")
        if over is not None:
            status, error = over.status, over.error
        hops = question.metadata.get("hops")
        golden = question.golden_answers
        failed = status in ("failed", "search_failed")
        scored = None if failed else answer
        return PlayedEpisode(
            set=set_name,
            index=index,
            question_id=question.id,
            question=question.question,
            golden_answers=tuple(golden),
            hops=hops if isinstance(hops, int) else None,
            status=status,
            answer=scored,
            exact_match=float(exact_match_score(scored, golden)),
            f1=float(f1_score(scored, golden)),
            containment=float(containment_score(scored, golden)),
            num_turns=turns,
            num_searches=sum(search.error is None for search in searches),
            num_invalid=invalid,
            prompt_tokens=self._notes.prompt_tokens,
            completion_tokens=self._notes.completion_tokens,
            seconds=time.perf_counter() - self._began,
            search_seconds=sum(search.latency_s for search in searches),
            search_cost=sum(search.cost for search in searches),
            searches=tuple(searches),
            segments=tuple(self._notes.segments),
            error=error,
        )
