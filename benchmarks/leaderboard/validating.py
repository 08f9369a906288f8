"""Hold a record against its own episodes, its suite's pins, and what no record may hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from agents.trajectory import TrajectoryStatus
from benchmarks.leaderboard.episodes import PlayedEpisode
from benchmarks.leaderboard.errors import RecordError
from benchmarks.leaderboard.judging import agreement
from benchmarks.leaderboard.kinds import kind_of
from benchmarks.leaderboard.metrics import macro, measure_set
from benchmarks.leaderboard.record_shape import check_shape
from benchmarks.leaderboard.records import EPISODES, Record, by_set, episodes_sha256, read_record
from benchmarks.leaderboard.secrecy import find_private, find_secrets
from benchmarks.leaderboard.slugs import slug_of
from benchmarks.leaderboard.standing import BOUNDS
from benchmarks.leaderboard.suites import SUITES, SetPin, load_set, load_suite
from benchmarks.leaderboard.transcripts import is_written
from zs_env.errors import QuestionError
from zs_env.questions.source import fingerprint
from zs_env.rewards import containment_score, exact_match_score, f1_score
from zs_env.types import Question

__all__ = ["CostsOf", "validate_record"]

CostsOf = Callable[[Mapping[str, Any], Sequence[PlayedEpisode]], Mapping[tuple[str, int], float] | None]
"""What each question cost, by (set, index), from a record's content and its episodes."""

_MAX_SAID = 5
_STATUSES = frozenset(get_args(TrajectoryStatus))


def validate_record(folder: Path, *, costs_of: CostsOf | None = None) -> list[str]:
    """What is wrong with a record; empty if nothing is.

    Every score is made again from its answer and golden answers, every figure from the episodes, the fingerprint of a
    complete set from its questions; a suite of this project is held against its pins.

    Args:
        folder: The record's folder.
        costs_of: Makes costs again, so that they are checked, too; else only that there are none where there is none.
    """
    try:
        record = read_record(folder)
        if found := check_shape(record.content):
            return found
        if episodes_sha256(folder / EPISODES) != record.content["episodes"]["sha256"]:
            return [f"{EPISODES} isn't the file that the record was made of: its hash differs. Write both again."]
        episodes = record.episodes()
        sets = by_set(record.content, episodes)
    except RecordError as error:
        return [str(error)]
    problems = [
        *_check_names(record),
        *_check_engine(record.content, episodes),
        *_limited(_check_episodes(episodes)),
        *_limited(_check_answers(episodes, record.content["row"]["agent"])),
        *_check_judge(record.content, episodes),
        *_check_sets(record.content, sets),
        *_check_pins(record.content),
        *find_secrets(record.content),
        *find_private(record.content),
        *_limited(_check_privacy(episodes)),
    ]
    return problems or list(_check_figures(record.content, episodes, sets, costs_of))


def _limited(problems: Iterator[str]) -> list[str]:
    every = list(problems)
    rest = len(every) - _MAX_SAID
    return every[:_MAX_SAID] + ([f"… and {rest} more of the kind."] if rest > 0 else [])


def _check_names(record: Record) -> Iterator[str]:
    slug = slug_of(record.content)
    if record.slug != slug:
        yield f"The folder is called {record.slug!r}, and what it holds {slug!r}. Rename it, or write it again."
    held = record.content["episodes"]
    if held["file"] != EPISODES:
        yield f"episodes: file is {held['file']!r}; it is always {EPISODES}."
    row = record.content["row"]
    for name, part in (("agent", "agent"), ("eval_engine", "engine")):
        if row[name] != record.content[part]["name"]:
            yield f"row: {name} is {row[name]!r}, and the record's {part} is called {record.content[part]['name']!r}."


def _check_engine(content: Mapping[str, Any], episodes: Sequence[PlayedEpisode]) -> Iterator[str]:
    engine = content["engine"]
    kind = kind_of(engine["search_mode"])
    if engine["kind"] != kind:
        yield f"engine: kind is said to be {engine['kind']!r}; the search mode {engine['search_mode']!r} is {kind!r}."
    found = sum(search.num_documents for episode in episodes for search in episode.searches)
    if kind == "closed-book" and found:
        yield f"A closed book finds nothing, and the record's searches found {found} documents."


def _check_answers(episodes: Sequence[PlayedEpisode], agent: str) -> Iterator[str]:
    for each in episodes:
        where = f"{each.set}, question {each.index}"
        if (each.status == "answered") != (each.answer is not None):
            yield f"{where}: its status is {each.status!r}, and its answer {each.answer!r:.40}."
        elif each.answer is not None and agent not in BOUNDS and not is_written(each, agent):
            yield f"{where}: the answer {each.answer!r:.40} isn't what the policy wrote in its transcript."


def _check_judge(content: Mapping[str, Any], episodes: Sequence[PlayedEpisode]) -> Iterator[str]:
    if content["settings"].get("judge") is None:
        if any(each.judged is not None for each in episodes):
            yield "Answers are judged, and no judge is named in settings."
        if content.get("judging") is not None:
            yield "judging has figures, and no judge is named in settings."
    elif not _same_figures(content.get("judging"), agreement(episodes)):
        yield f"judging is said to be {content.get('judging')!r:.100}, and the episodes give {agreement(episodes)!r}."


def _check_episodes(episodes: Sequence[PlayedEpisode]) -> Iterator[str]:
    for each in episodes:
        where = f"{each.set}, question {each.index}"
        if each.status not in _STATUSES:
            yield f"{where}: there is no status {each.status!r}."
        if each.failed:
            continue
        scores = (
            ("exact_match", each.exact_match, exact_match_score),
            ("f1", each.f1, f1_score),
            ("containment", each.containment, containment_score),
        )
        for name, said, score in scores:
            made = score(each.answer, each.golden_answers)
            if not math.isclose(said, made, abs_tol=1e-9):
                yield f"{where}: {name} is said to be {said}, and the answer {each.answer!r:.40} is worth {made}."
        searched = sum(search.error is None for search in each.searches)
        if each.num_searches != searched:
            yield f"{where}: {each.num_searches} searches are said, and {searched} are there."
        if each.num_searches + each.num_invalid > each.num_turns:
            acted = f"{each.num_searches} searches and {each.num_invalid} invalid actions"
            yield f"{where}: {each.num_turns} turns are said, and they hold {acted}."
        for name, said, taken in (
            ("search_seconds", each.search_seconds, math.fsum(search.latency_s for search in each.searches)),
            ("search_cost", each.search_cost, math.fsum(search.cost for search in each.searches)),
        ):
            if not math.isclose(said, taken, rel_tol=1e-6, abs_tol=1e-9):
                yield f"{where}: {name} is said to be {said}, and that of its searches is {taken}."


def _check_sets(content: Mapping[str, Any], sets: Mapping[str, Sequence[PlayedEpisode]]) -> Iterator[str]:
    complete = content["state"] == "complete"
    total = sum(map(len, sets.values()))
    if content["episodes"]["n"] != total:
        yield f"episodes: n is {content['episodes']['n']}, and there are {total}."
    failed = sum(episode.failed for episodes in sets.values() for episode in episodes)
    if content["num_failed"] != failed:
        yield f"num_failed is {content['num_failed']}, and {failed} episodes failed."
    elif complete and failed:
        yield f"The record is said to be complete, and {failed} of its questions failed: that makes it partial."
    for each in content["sets"]:
        wanted = each["size"] if each["limit"] is None else min(each["limit"], each["size"])
        if each["n"] != wanted:
            yield (
                f"The set {each['name']!r} has {each['size']} questions, of which a limit of {each['limit']} picks "
                f"{wanted}, and n is {each['n']}."
            )
        elif each["n"] == each["size"] and each["fingerprint"] != each["source_fingerprint"]:
            yield f"All questions of the set {each['name']!r} were played, and they have another hash than the set."
        played = sets[each["name"]]
        indices = sorted(episode.index for episode in played)
        whole = indices == list(range(each["n"]))
        if len(set(indices)) < len(indices) or any(not 0 <= index < each["n"] for index in indices):
            yield f"The set {each['name']!r} has {each['n']} questions: its episodes are numbered 0 to {each['n'] - 1}."
        elif complete and not whole:
            yield f"The record is complete, and of the set {each['name']!r} {len(indices)} of {each['n']} were played."
        elif whole and (made := _fingerprint(played)) != each["fingerprint"]:
            yield (
                f"The questions of the set {each['name']!r} have the fingerprint {made}, and the record says "
                f"{each['fingerprint']}: they aren't those that the suite picked."
            )


def _fingerprint(played: Sequence[PlayedEpisode]) -> str | None:
    ordered = sorted(played, key=lambda episode: episode.index)
    try:
        return fingerprint(
            [Question(id=e.question_id, question=e.question, golden_answers=e.golden_answers) for e in ordered]
        )
    except QuestionError:
        return None


def _check_pins(content: Mapping[str, Any]) -> Iterator[str]:
    named = content["suite"]
    if named["name"] not in SUITES:
        return
    suite = load_suite(named["name"])
    if named["version"] != suite.version:
        yield f"The suite {suite.name!r} is at version {suite.version}, and the record's is {named['version']}."
        return
    pins = {pin.name: pin for pin in suite.sets}
    if [each["name"] for each in content["sets"]] != list(pins):
        yield f"The suite {suite.name!r} has the sets {', '.join(pins)}, and the record other ones."
        return
    for each in content["sets"]:
        pin = pins[each["name"]]
        pinned = (
            ("split", pin.split, each["split"]),
            ("revision", pin.revision, each["revision"]),
            ("size", pin.size, each["size"]),
            ("source_fingerprint", pin.fingerprint or None, each["source_fingerprint"]),
        )
        for name, wanted, found in pinned:
            if wanted is not None and found != wanted:
                yield f"The set {pin.name!r}: {name} is pinned to be {wanted!r}, and the record says {found!r}."
        if pin.place == "atlas" and each["fingerprint"] != _sampled(pin, each["limit"]):
            yield (
                f"Of the set {pin.name!r} the record holds other questions than a limit of {each['limit']} picks: the "
                "sample is always the same."
            )


def _sampled(pin: SetPin, limit: int | None) -> str:
    """The fingerprint of the questions that a limit picks, of a set that needs no download."""
    return load_set(pin, limit=limit if limit is None or limit > 0 else 1).fingerprint


def _check_privacy(episodes: Sequence[PlayedEpisode]) -> Iterator[str]:
    """Documents may name any page of the web; only keys, and what errors say, are looked for in episodes."""
    for each in episodes:
        where = f"{each.set}, question {each.index}"
        yield from find_secrets([segment.text for segment in each.segments], f"{where}: segments")
        yield from find_secrets(each.answer or "", f"{where}: answer")
        yield from find_secrets([search.query for search in each.searches], f"{where}: query")
        errors = [each.error or "", *(search.error or "" for search in each.searches)]
        yield from find_secrets(errors, f"{where}: error")
        yield from find_private(errors, f"{where}: error")


def _check_figures(
    content: Mapping[str, Any],
    episodes: Sequence[PlayedEpisode],
    sets: Mapping[str, Sequence[PlayedEpisode]],
    costs_of: CostsOf | None,
) -> Iterator[str]:
    costs = None if costs_of is None else costs_of(content, episodes)
    skipped = frozenset(("cost",)) if costs_of is None else frozenset()
    for each in content["sets"]:
        made = measure_set(sets[each["name"]], costs=costs)
        yield from _differ(each["metrics"], made, f"metrics of {each['name']}", skipped)
    yield from _differ(content["macro"], macro(sets, costs=costs), "macro", skipped)


def _differ(said: Any, made: Any, where: str, skipped: frozenset[str] = frozenset()) -> Iterator[str]:
    if isinstance(made, Mapping):
        if not isinstance(said, Mapping) or set(said) != set(made):
            keys = ", ".join(map(str, said)) if isinstance(said, Mapping) else repr(said)
            yield f"{where} says {keys:.80}, and its episodes give {', '.join(made)}."
            return
        for name, value in made.items():
            if name == "ci":
                yield from _differ_ci(said[name], value, f"{where}: {name}")
            elif name not in skipped:
                yield from _differ(said[name], value, f"{where}: {name}")
    elif not _same(said, made):
        yield f"{where} is said to be {said!r:.40}, and its episodes give {made!r:.40}."


def _differ_ci(said: Any, made: Sequence[float], where: str) -> Iterator[str]:
    """Releases of numpy may draw otherwise from one seed, so that limits agree to a fifth of the width."""
    room = 0.2 * (made[1] - made[0]) + 1e-9
    if (
        not isinstance(said, list)
        or len(said) != 2
        or not all(isinstance(a, float | int) and abs(a - b) <= room for a, b in zip(said, made, strict=True))
    ):
        yield f"{where} is said to be {said!r:.60}, and its episodes give {list(made)!r:.60}."


def _same_figures(said: Any, made: Mapping[str, Any]) -> bool:
    return isinstance(said, Mapping) and set(said) == set(made) and all(_same(said[key], made[key]) for key in made)


def _same(said: Any, made: Any) -> bool:
    if isinstance(made, int | float) and isinstance(said, int | float):
        return math.isclose(said, made, rel_tol=1e-9, abs_tol=1e-9)
    return bool(said == made)
