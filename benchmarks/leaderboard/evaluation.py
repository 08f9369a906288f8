"""One record as it is made: begun or gone on with, played, stopped or finished, and written."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import zs_env
from agents.codec import CharacterCodec
from agents.errors import first_line
from agents.runs import describe_machine
from benchmarks.leaderboard.agents import AgentSpec
from benchmarks.leaderboard.engines import BoardEngine
from benchmarks.leaderboard.environment import describe_git, describe_packages
from benchmarks.leaderboard.episodes import PlayedEpisode
from benchmarks.leaderboard.judging import AnswerJudge, agreement, judge_episodes, told
from benchmarks.leaderboard.keeping import KEPT, KeptEpisodes, check_unfinished, settings_of
from benchmarks.leaderboard.metrics import macro, measure_set
from benchmarks.leaderboard.playing import BoardPlayer, BoardTask, TokenCount, play_questions
from benchmarks.leaderboard.prices import Prices, costs_of
from benchmarks.leaderboard.progress import Progress, say
from benchmarks.leaderboard.records import RECORD, Record, by_set, read_record, write_record
from benchmarks.leaderboard.replaying import Replay, ReplayPart
from benchmarks.leaderboard.scrubbing import scrub_text
from benchmarks.leaderboard.slugs import slug_of
from benchmarks.leaderboard.suites import LoadedSet, Suite
from zs_env.errors import ConfigError
from zs_env.prompts import PROMPTS
from zs_env.tuning.keeping import differences
from zs_env.types import SearchEngine

__all__ = ["Evaluation", "RunSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """What all records of a command share.

    Attributes:
        out: Where records go.
        seed: Where all randomness comes from.
        noise_probability: The chance that a search asks for noisy documents.
        temperature: Of sampling; None for greedy.
        concurrency: Questions side by side.
        prices: What things cost.
        policy_name: What rows call the policy; None for its model's name.
        train_engine: The engine that it was trained on; None for what its run says.
        new: Whether a stopped evaluation of other settings is left alone.
    """

    out: Path
    seed: int = 0
    noise_probability: float = 0.0
    temperature: float | None = None
    concurrency: int = 64
    prices: Prices = field(default_factory=Prices)
    policy_name: str | None = None
    train_engine: str | None = None
    new: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """An agent, somebody who plays it, and an engine.

    Attributes:
        agent: The agent.
        player: Who plays it.
        engine: What answers searches.
        suite: What the questions are of.
        sets: The questions.
        settings: What the command says.
        replay: The folder of replies, if there is one.
        judge: Who judges answers, if anybody.
    """

    agent: AgentSpec
    player: BoardPlayer
    engine: BoardEngine
    suite: Suite
    sets: Sequence[LoadedSet]
    settings: RunSettings
    replay: Replay | None = None
    judge: AnswerJudge | None = None

    @property
    def name(self) -> str:
        """What progress calls it."""
        return f"{self.agent.name} on {self.engine.name}"

    def run(self) -> tuple[Record | None, BaseException | None]:
        """Play what isn't played yet, and write the record, also if something breaks it off.

        Returns:
            The record, None if nothing was played; and what broke it off, None if nothing did.

        Raises:
            ConfigError: Its settings differ from those of what is there.
        """
        with ExitStack() as closing:
            engine = self.engine.make()
            closing.callback(getattr(engine, "close", lambda: None))
            content = self._content(engine)
            folder = self.settings.out / slug_of(content)
            before = _read_before(folder, content)
            if before is not None and before.is_complete:
                say(f"{self.name}: {folder.name} is complete, so nothing is played.")
                return self._measure_again(before, content), None
            if not self.settings.new:
                check_unfinished(folder, content)
            part = None
            if self.replay is not None:
                part = self.replay.part(self.agent.name, engine, self.engine.spec.record())
                engine = part.engine
            kept = KeptEpisodes(folder / KEPT, settings_of(content), before=before)
            closing.callback(kept.close)
            stopped: BaseException | None = None
            try:
                counted = self._play(engine, kept, part)
                content["settings"]["tokens"] = counted or content["settings"]["tokens"]
            except (Exception, KeyboardInterrupt) as error:
                stopped = error
            kept.close()
            if not kept.episodes:
                return None, stopped
            content["replayed"] = None if part is None else part.record()
            content["model"] = self._model  # a server may have said more of itself
            record = self._write(content, kept.episodes, kept.seconds, stopped, before)
            if record.is_complete:
                kept.path.unlink(missing_ok=True)  # another command may have finished the same record
            return record, stopped

    @property
    def _num_questions(self) -> int:
        return sum(len(each.questions) for each in self.sets)

    @property
    def _model(self) -> dict[str, Any]:
        """What is said of the player; what one command used says nothing of a record that several made."""
        return {name: value for name, value in self.player.record().items() if name != "usage"}

    @property
    def _noise_probability(self) -> float:
        """A closed book and a real engine make no noise on purpose, so nothing asks them for it."""
        return 0.0 if self.engine.kind in ("closed-book", "real") else self.settings.noise_probability

    @property
    def _tokens(self) -> TokenCount | None:
        """Who counts tokens, as far as it is known before anything is written: a server may or may not."""
        return None if isinstance(self.player.codec, CharacterCodec) else "model"

    def _content(self, engine: SearchEngine) -> dict[str, Any]:
        """What the record says that is known before anything is played."""
        player, settings = self.player, self.settings
        episode, rollout = player.episode_settings, player.rollout_settings
        plays = self.agent.needs_model  # a bound is no policy's, whatever is played beside it
        name = (settings.policy_name or player.model_name) if plays else None
        return {
            "version": zs_env.__version__,
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "row": {
                "policy": f"{name}, {self.agent.name}" if name else self.agent.name,
                "agent": self.agent.name,
                "model": player.model_name,
                "train_engine": (settings.train_engine if plays else None) or player.train_engine,
                "eval_engine": self.engine.name,
            },
            "engine": self.engine.record(engine),
            "suite": {"name": self.suite.name, "version": self.suite.version},
            "sets": [each.record() for each in self.sets],
            "settings": {
                "seed": settings.seed,
                "noise_probability": self._noise_probability,
                "topk": episode.topk,
                "max_turns": episode.max_turns,
                "prompt": _prompt_name(episode.prompt) if self.agent.takes_callable else "default",
                "max_information_chars": episode.max_information_chars,
                "max_new_tokens": rollout.max_new_tokens,
                "max_episode_tokens": rollout.max_episode_tokens,
                "temperature": settings.temperature,
                "concurrency": settings.concurrency,
                "tokens": self._tokens,
                "judge": None if self.judge is None else self.judge.record(),
                "prices": settings.prices.record(),
            },
            "agent": {
                "name": self.agent.name,
                "source": self.agent.source,
                "fingerprint": self.agent.fingerprint,
            },
            "model": self._model,
            "fingerprints": dict(player.fingerprints),
        }

    def _play(self, engine: SearchEngine, kept: KeptEpisodes, part: ReplayPart | None) -> TokenCount | None:
        """Play what isn't kept yet; returns who counted tokens."""
        tasks = [
            BoardTask(
                set=each.name,
                index=index,
                question=question,
                noise_probability=self._noise_probability,
            )
            for each in self.sets
            for index, question in enumerate(each.questions)
        ]
        left = [task for task in tasks if not kept.is_done((task.set, task.index))]
        done = f"; {len(tasks) - len(left)} are played already" if len(left) < len(tasks) else ""
        say(f"{self.name}: {len(left)} of {len(tasks)} questions to play{done}.")
        if not left:
            return None
        progress = Progress(self.name, len(left))

        def keep(episode: PlayedEpisode) -> None:
            kept.keep(episode)
            progress.add(episode)

        return play_questions(
            self.agent.name,
            self.player,
            left,
            engine=engine,
            episode_settings=self.player.episode_settings,
            rollout_settings=self.player.rollout_settings,
            seed=self.settings.seed,
            concurrency=self.settings.concurrency,
            keep=keep,
            replay=part,
            temperature=self.settings.temperature,
            pool=tasks,
        )

    def _write(
        self,
        content: Mapping[str, Any],
        episodes: Sequence[PlayedEpisode],
        seconds: float,
        stopped: BaseException | None,
        before: Record | None,
    ) -> Record:
        why = _why_partial(episodes, self._num_questions, stopped)
        where = {"machine": describe_machine(), "packages": describe_packages(), "git": describe_git()}
        whole = {**content, **where, "seconds": seconds, "state": "partial" if why else "complete", "why_partial": why}
        return self._measured(whole, episodes, None if before is None else before.content["settings"]["judge"])

    def _measure_again(self, before: Record, now: Mapping[str, Any]) -> Record:
        """A complete record, with this command's prices and judge; itself if these are the same."""
        past = before.content["settings"]
        new = {"prices": now["settings"]["prices"], "judge": now["settings"]["judge"] or past["judge"]}
        if new == {name: past[name] for name in new} and not self._waits_for_verdicts(before):
            return before
        content = {**before.content, "settings": {**past, **new}}
        return self._measured(content, before.episodes(), past["judge"])

    def _waits_for_verdicts(self, record: Record) -> bool:
        return self.judge is not None and bool(agreement(record.episodes())["no_verdict"])

    def _measured(
        self, content: Mapping[str, Any], episodes: Sequence[PlayedEpisode], judged_by: Mapping[str, Any] | None
    ) -> Record:
        """Write the record with its figures; `judged_by` gave the verdicts that episodes have already."""
        if self.judge is not None:
            say(f"{self.name}: a judge reads the answers to {len(episodes)} questions.")
            episodes = judge_episodes(
                episodes, self.judge, kept_from=judged_by, say=lambda line: say(f"{self.name}: {line}")
            )
            say(f"{self.name}: {told(episodes)}.")
        elif content["settings"]["judge"] is None:
            episodes = [replace(episode, judged=None) for episode in episodes]
        prices = self.settings.prices.on(content["engine"]["kind"])
        costs = costs_of(episodes, prices, seconds=content["seconds"])
        sets = by_set(content, episodes)
        whole = {
            **content,
            "sets": [{**each, "metrics": measure_set(sets[each["name"]], costs=costs)} for each in content["sets"]],
            "macro": macro(sets, costs=costs),
            "judging": None if content["settings"]["judge"] is None else agreement(episodes),
            "num_failed": sum(episode.failed for episode in episodes),
        }
        return write_record(self.settings.out, whole, episodes)


def _prompt_name(prompt: str) -> str:
    """A prompt of the project by its name, one's own by its hash: another prompt is another evaluation."""
    named = (name for name, text in PROMPTS.items() if text == prompt)
    return next(named, f"sha256:{hashlib.sha256(prompt.encode()).hexdigest()[:16]}")


def _read_before(folder: Path, content: Mapping[str, Any]) -> Record | None:
    """The record that is there; None if there is none.

    Raises:
        ConfigError: It is of other settings.
    """
    if not (folder / RECORD).is_file():
        return None
    found = read_record(folder)
    differs = differences(settings_of(found.content), json.loads(json.dumps(settings_of(content))))
    if differs:
        raise ConfigError(
            f"The record {folder.name!r} is of other settings: {'; '.join(differs[:8])}. Give the same settings to go "
            "on with it, take its folder away to begin anew, or name another with --out."
        )
    return found


def _why_partial(episodes: Sequence[PlayedEpisode], num_questions: int, stopped: BaseException | None) -> str | None:
    """Why a record isn't complete, in a sentence; None if it is."""
    failed = [episode for episode in episodes if episode.failed]
    if stopped is None and not failed and len(episodes) == num_questions:
        return None
    played = f"{len(episodes) - len(failed)} of {num_questions} questions are played"
    if failed:
        played += f", {len(failed)} failed"
    if isinstance(stopped, KeyboardInterrupt):
        return f"{played}; then a signal stopped it."
    if stopped is not None:
        return f"{played}; then it stopped: {type(stopped).__name__}: {scrub_text(first_line(stopped))}"
    first = f" The first ({failed[0].set} {failed[0].index}): {failed[0].error}" if failed else ""
    return f"{played}.{first}"
