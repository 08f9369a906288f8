"""`leaderboard run`: every agent on every engine, a record each."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from agents.interrupts import StopSignals
from agents.players import SERVER_FLAGS
from benchmarks.leaderboard.agents import AgentSpec, find_agent
from benchmarks.leaderboard.engines import BoardEngine, closed_book, engines_of
from benchmarks.leaderboard.evaluation import Evaluation, RunSettings
from benchmarks.leaderboard.judging import AnswerJudge, load_judge
from benchmarks.leaderboard.playing import BoardPlayer, load_board_player
from benchmarks.leaderboard.prices import Prices
from benchmarks.leaderboard.progress import say
from benchmarks.leaderboard.records import Record
from benchmarks.leaderboard.replaying import Replay
from benchmarks.leaderboard.suites import LoadedSet, Suite, load_set, load_suite, questions_suite
from benchmarks.leaderboard.tables import render_records
from zs_env.curriculum import check_probability, check_whole
from zs_env.errors import ConfigError, ZeroSearchError
from zs_env.files import write_json

__all__ = ["load_questions_of", "run"]

_JUDGED_TOGETHER = 16


def run(options: argparse.Namespace) -> int:
    """Play, leave the records, print their table.

    Returns:
        0 if every record is complete, 1 if one is partial or couldn't be made, 130 after Ctrl-C and 143 after SIGTERM.
    """
    if options.policy_url is not None and options.sampler == "transformers":
        options.sampler = "openai"  # the default; nobody else has a server that plays
    settings = _settings_of(options)
    agents = [find_agent(name) for name in dict.fromkeys(options.agent)]
    suite, sets = load_questions_of(options)
    engines = _engines_of(options, agents, suite)
    board = _Board(settings, suite, sets)
    with StopSignals(say) as signals, ExitStack() as closing:
        if options.replay is not None:
            board.replay = Replay(options.replay, only=options.replay_only)
            closing.callback(board.replay.close)
        board.judge = load_judge(options, seed=options.seed, concurrency=min(options.concurrency, _JUDGED_TOGETHER))
        if board.judge is not None:
            closing.callback(board.judge.close)
        try:
            board.play(agents, engines, options)
        except KeyboardInterrupt:
            say("Stopped; what was played is kept.")
            board.errors.append("stopped by a signal")
        stopped_by = signals.received
    return board.tell(options.json, stopped_by)


class _Board:
    """The records of one command.

    Args:
        settings: What they share.
        suite: What the questions are of.
        sets: The questions.

    Attributes:
        replay: The folder of replies, if there is one.
        judge: Who judges answers, if anybody.
        records: Those that were made.
        errors: What went wrong.
    """

    def __init__(self, settings: RunSettings, suite: Suite, sets: Sequence[LoadedSet]) -> None:
        self.replay: Replay | None = None
        self.judge: AnswerJudge | None = None
        self.records: list[Record] = []
        self.errors: list[str] = []
        self._settings, self._suite, self._sets = settings, suite, sets

    def play(self, agents: Sequence[AgentSpec], engines: Sequence[BoardEngine], options: argparse.Namespace) -> None:
        """Play each agent on each engine; one that fails doesn't keep the others from being played.

        Raises:
            KeyboardInterrupt: The command was asked to stop.
        """
        with ExitStack() as closing:
            players: dict[bool, BoardPlayer] = {}
            for needs_model in dict.fromkeys(agent.needs_model for agent in agents):
                named = [agent.name for agent in agents if agent.needs_model == needs_model]
                players[needs_model] = _load_player(options, named, needs_model=needs_model)
                closing.callback(players[needs_model].close)
            for agent in agents:
                if not agent.searches and any(engine.kind != "closed-book" for engine in engines):
                    say(f"{agent.name} never searches, so it is played once, closed-book.")
                for engine in engines if agent.searches else [closed_book()]:
                    self._play_on(agent, players[agent.needs_model], engine)

    def _play_on(self, agent: AgentSpec, player: BoardPlayer, engine: BoardEngine) -> None:
        evaluation = Evaluation(
            agent=agent,
            player=player,
            engine=engine,
            suite=self._suite,
            sets=self._sets,
            settings=self._settings,
            replay=self.replay,
            judge=self.judge,
        )
        try:
            record, stopped = evaluation.run()
        except ZeroSearchError as error:
            record, stopped = None, error
        if record is not None:
            self.records.append(record)
        if stopped is not None and not isinstance(stopped, ZeroSearchError):
            raise stopped
        if stopped is not None and record is None:
            self.errors.append(f"{evaluation.name}: {stopped}")

    def tell(self, json_file: Path | None, stopped_by: int | None) -> int:
        """Print the table, and what isn't as it should be; returns the exit status."""
        if self.replay is not None:
            say(self.replay.told())
        if self.records:
            print(render_records(self.records))
        if json_file is not None:
            write_json(json_file, {"records": [{"slug": record.slug, **record.content} for record in self.records]})
        for error in self.errors:
            say(f"error: {error}")
        partial = [record for record in self.records if not record.is_complete]
        for record in partial:
            say(f"partial: {record.folder}: {record.content['why_partial']}")
        if partial:
            say("The same command goes on with what is partial: it asks for what wasn't played or failed.")
        if stopped_by is not None:
            return 128 + stopped_by
        return 1 if self.errors or partial else 0


def _load_player(options: argparse.Namespace, agents: Sequence[str], *, needs_model: bool) -> BoardPlayer:
    """Whoever plays these agents; nobody, for bounds, whatever model the flags name for the others."""
    given = {**vars(options), "agent": list(agents)}
    if not needs_model:
        given |= {"model": None, "callable": None, "sampler": "transformers"} | dict.fromkeys(SERVER_FLAGS)
    elif options.model is not None and options.sampler != "openai":
        _quiet()
    return load_board_player(argparse.Namespace(**given), say)


def _quiet() -> None:
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def load_questions_of(options: argparse.Namespace) -> tuple[Suite, list[LoadedSet]]:
    """The suite that the flags name, and its questions.

    Raises:
        SuiteError: A set isn't what the suite pins, or isn't there.
    """
    if options.questions:
        suite = questions_suite(options.questions, options.split)
    else:
        if options.split is not None:
            raise ConfigError("--split is for files of --questions: a suite names the split of each of its sets.")
        suite = load_suite(options.suite or "atlas")
    names = [pin.name for pin in suite.sets]
    suite = _part_of(suite, options.sets)
    places = dict(_place_of(text, names) for text in options.places)
    if options.limit is not None:
        check_whole("--limit", options.limit, least=1)
    sets = []
    for pin in suite.sets:
        found = load_set(pin, limit=options.limit, place=places.get(pin.name), offline=options.offline)
        say(f"{pin.name}: {len(found.questions)} of {found.pin.size} questions, {found.fingerprint}")
        sets.append(found)
    return suite, sets


def _part_of(suite: Suite, wanted: Sequence[str] | None) -> Suite:
    """Some of a suite's sets, under a name that says so: their average is another figure than the whole suite's."""
    names = [pin.name for pin in suite.sets]
    for name in wanted or ():
        if name not in names:
            raise ConfigError(f"The suite {suite.name!r} has no set {name!r}: it has {', '.join(names)}.")
    if wanted is None or set(wanted) == set(names):
        return suite
    sets = tuple(pin for pin in suite.sets if pin.name in wanted)
    return replace(suite, name="-".join([suite.name, *(pin.name for pin in sets)]), sets=sets)


def _place_of(text: str, names: Sequence[str]) -> tuple[str, str]:
    name, equals, place = text.partition("=")
    if not equals or name not in names or not place:
        raise ConfigError(f"--from is SET=FILE, and SET one of {', '.join(names)}; got {text!r}.")
    return name, place


def _settings_of(options: argparse.Namespace) -> RunSettings:
    check_whole("--concurrency", options.concurrency, least=1)
    check_whole("--seed", options.seed, least=0)
    check_whole("--tries", options.tries, least=1)
    check_probability("--noise-probability", options.noise_probability)
    temperature = options.temperature
    if temperature is not None and not (math.isfinite(temperature) and temperature >= 0):
        raise ConfigError(f"--temperature is a number that isn't negative, 0 for greedy; got {temperature!r}.")
    if options.replay_only and options.replay is None:
        raise ConfigError("--replay-only needs --replay FOLDER, where the replies are.")
    return RunSettings(
        out=options.out,
        seed=options.seed,
        noise_probability=options.noise_probability,
        temperature=temperature or None,
        concurrency=options.concurrency,
        prices=Prices(
            per_hour=options.price_per_hour,
            per_million_in=options.price_in,
            per_million_out=options.price_out,
            per_1000_searches=options.price_per_1000_searches,
        ),
        policy_name=options.policy_name,
        train_engine=options.train_engine,
        new=options.new,
    )


def _engines_of(options: argparse.Namespace, agents: Sequence[AgentSpec], suite: Suite) -> list[BoardEngine]:
    engines = engines_of(
        options.engine,
        files=options.engines,
        on_atlas=all(pin.place == "atlas" for pin in suite.sets),
        corpus=options.corpus,
        tries=options.tries,
        timeout_s=options.timeout_s,
        max_in_flight=options.max_in_flight,
    )
    searching = [agent.name for agent in agents if agent.searches]
    if searching and not engines:
        raise ConfigError(
            f"{', '.join(searching)} searches, and these questions have no engine of their own: give --engine, for "
            "example bm25 with --corpus FILE, or closed-book (searches find nothing)."
        )
    return engines
