"""Records that were made up, in the shape of real ones: a small factory."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from agents.trajectory import SearchRecord
from benchmarks.leaderboard.episodes import PlayedEpisode
from benchmarks.leaderboard.metrics import macro, measure_set
from benchmarks.leaderboard.records import Record, by_set, write_record
from zs_env.episode import Segment
from zs_env.questions.source import fingerprint
from zs_env.rewards import containment_score, exact_match_score, f1_score
from zs_env.types import Question

HOSTILE = (
    "<x-in><script>document.title='broken into'</script></script>"
    "<img src=x onerror=\"document.title='broken into'\"><!--"
    "\u2028\u2029\u202e{{x}} ${x} `x` | a*b* [x](javascript:alert(1))"
)
"""What a document, an answer or a name may hold that wants to be more than text."""

KINDS = {
    "closed-book": "closed-book",
    "template": "simulated",
    "smollm2": "simulated",
    "bm25": "real",
    "hybrid": "mixed",
}


def made_episode(
    set_name: str, index: int, *, right: bool, searches: int = 1, text: str = "", rng: random.Random | None = None
) -> PlayedEpisode:
    """One question, played as `zerosearch` plays; `text` is put into every free text of it."""
    torn = text + "\ud800" if text else ""  # half a character, which a server can send and an episode's file can hold
    rng = rng or random.Random(index)
    golden = (f"Answer {index}{text}", f"The answer {index}")
    answer = golden[0] if right else f"Another {index}{torn}" if rng.random() < 0.8 else None
    question = f"What is asked by number {index} of {set_name}?{text}"
    segments = [Segment("prompt", f"Answer the question. Question: {question}\n")]
    records = []
    for turn in range(1, searches + 1):
        noisy = rng.random() < 0.3
        query = f"number {index}, fact {turn}{torn}"
        segments.append(Segment("policy", f"<think>I should look it up.{torn}</think>\n<search>{query}</search>"))
        documents = " ".join(f"Doc {n}: {'Nothing' if noisy else golden[0]} is said here.{torn}" for n in range(1, 4))
        segments.append(Segment("environment", f"\n<information>{documents}</information>\n"))
        records.append(
            SearchRecord(
                turn=turn,
                query=query,
                quality="noisy" if noisy else "useful",
                noise_probability=0.3,
                seed=turn,
                supports_query=not noisy,
                contains_golden=not noisy,
                engine=f"engine{torn}",
                num_documents=3,
                cut=False,
                cached=turn > 1,
                latency_s=0.02,
                cost=0.001,
                error=None,
            )
        )
    if answer is not None:
        segments.append(Segment("policy", f"<think>Now I know.</think>\n<answer>{answer}</answer>"))
    return PlayedEpisode(
        set=set_name,
        index=index,
        question_id=f"{set_name}-{index}{text}",
        question=question,
        golden_answers=golden,
        hops=1 + index % 2,
        status="out_of_turns" if answer is None else "answered",
        answer=answer,
        exact_match=exact_match_score(answer, golden),
        f1=f1_score(answer, golden),
        containment=containment_score(answer, golden),
        num_turns=searches + 1,
        num_searches=searches,
        prompt_tokens=200 + 150 * searches,
        completion_tokens=40 + 20 * searches,
        seconds=0.5 + 0.4 * searches + 0.01 * (index % 7),
        search_seconds=0.02 * searches,
        search_cost=0.001 * searches,
        searches=tuple(records),
        segments=tuple(segments),
    )


def made_record(
    root: Path,
    *,
    policy: str = "small model, zerosearch",
    agent: str = "zerosearch",
    train_engine: str = "none",
    eval_engine: str = "template",
    suite: str = "made",
    sets: Mapping[str, int] | None = None,
    skill: float = 0.5,
    searches: int = 1,
    seed: int = 0,
    text: str = "",
    state: str = "complete",
    failed: int = 0,
    price: float | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Record:
    """Write a record whose questions are right with the chance `skill`; equal arguments give an equal record."""
    sets = sets or {"one": 12, "two": 8}
    rng = random.Random(f"{policy}{train_engine}{eval_engine}{seed}")
    episodes: list[PlayedEpisode] = []
    for name, number in sets.items():
        hard = random.Random(name)
        for index in range(number):
            chance = min(1.0, max(0.0, skill + 0.5 * (hard.random() - 0.5)))
            episodes.append(
                made_episode(name, index, right=rng.random() < chance, searches=searches, text=text, rng=rng)
            )
    for place in range(failed):
        episodes[place] = replace(episodes[place], status="failed", answer=None, exact_match=0.0, error=f"gone{text}")
    content = _content(policy, agent, train_engine, eval_engine, suite, sets, seed, text, state, settings or {})
    costs = None if price is None else {(each.set, each.index): price * (1 + each.num_searches) for each in episodes}
    parts = by_set(content, episodes)
    for each in content["sets"]:
        each["fingerprint"] = _fingerprint(parts[each["name"]])
        each["metrics"] = measure_set(parts[each["name"]], costs=costs)
    content |= {"macro": macro(parts, costs=costs), "num_failed": failed}
    return write_record(root, content, episodes)


def _fingerprint(episodes: Sequence[PlayedEpisode]) -> str:
    return fingerprint(
        [
            Question(id=each.question_id, question=each.question, golden_answers=each.golden_answers)
            for each in sorted(episodes, key=lambda each: each.index)
        ]
    )


def _hash(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _content(
    policy: str,
    agent: str,
    train_engine: str,
    eval_engine: str,
    suite: str,
    sets: Mapping[str, int],
    seed: int,
    text: str,
    state: str,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    def one_set(name: str, number: int) -> dict[str, Any]:
        source = _hash("source", name)
        return {
            "name": name,
            "source": f"hf:made/questions:{name}",
            "split": "test",
            "revision": "0" * 40,
            "size": 1000,
            "limit": number,
            "n": number,
            "source_fingerprint": source,
        }

    model = None if agent in ("oracle", "random") else f"small-model{text}"
    return {
        "version": "0.1.0",
        "date": "2026-01-31",
        "row": {
            "policy": policy,
            "agent": agent,
            "model": model,
            "train_engine": train_engine,
            "eval_engine": eval_engine,
        },
        "engine": {
            "name": eval_engine,
            "search_mode": eval_engine,
            "kind": KINDS.get(eval_engine, "real"),
            "options": {"k": 1.2},
            "fingerprint": _hash(eval_engine),
        },
        "suite": {"name": suite, "version": 1},
        "sets": [one_set(name, number) for name, number in sets.items()],
        "settings": {
            "seed": seed,
            "noise_probability": 0.0,
            "topk": 5,
            "max_turns": 5,
            "max_new_tokens": 256,
            "max_episode_tokens": 4096,
            "temperature": None,
            "concurrency": 16,
            "tokens": "model",
            "judge": None,
            "prices": {},
        }
        | dict(settings),
        "agent": {"name": agent, "source": f"A paper, section 3{text}", "fingerprint": _hash(agent)},
        "model": {"name": model, "parameters": 134_515_008},
        "fingerprints": {"weights": _hash(policy)},
        "machine": {"system": "Linux", "cpus": 2, "memory_bytes": 2**34},
        "packages": {"torch": "2.13.0", "transformers": "5.20.0"},
        "git": {"commit": "c" * 40, "dirty": False},
        "seconds": 61.5,
        "state": state,
        "why_partial": None if state == "complete" else f"the server is gone{text}",
    }


def made_board(root: Path, *, number: int = 100, sets: Sequence[str] = ("nq", "hotpotqa", "bamboogle")) -> None:
    """Some forty rows over two suites: agents, models, engines and seeds as a board would have them."""
    models = {"SmolLM2-135M-Instruct": 0.05, "SmolLM2-360M-Instruct": 0.12, "Qwen2.5-1.5B-Instruct": 0.22}
    agents = {"direct": (0.0, 0), "cot": (0.02, 0), "rag": (0.1, 1), "search-o1": (0.13, 2), "zerosearch": (0.15, 3)}
    gains = {"closed-book": 0.0, "template": 1.0, "bm25": 0.75}
    for suite, names in (("zerosearch", sets), ("atlas", ("atlas",))):
        sizes = dict.fromkeys(names, number)
        for place, (model, base) in enumerate(models.items()):
            for agent, (gain, searches) in agents.items():
                engines = ("closed-book",) if searches == 0 else ("template", "bm25")
                if agent == "zerosearch":
                    engines = ("closed-book", "template", "bm25") if place == 0 else ("template", "bm25")
                for engine in engines:
                    made_record(
                        root,
                        policy=f"{model}, {agent}",
                        agent=agent,
                        eval_engine=engine,
                        suite=suite,
                        sets=sizes,
                        skill=base + gain * gains[engine],
                        searches=searches if engine != "closed-book" else min(searches, 1),
                        price=0.0002 * (place + 1) ** 2,
                    )
        if suite == "zerosearch":
            trained = {"policy": "quickstart, trained", "train_engine": "template", "searches": 2}
            for engine in ("closed-book", "template", "bm25", "hybrid"):
                made_record(
                    root,
                    eval_engine=engine,
                    suite=suite,
                    sets=sizes,
                    skill=0.05 + 0.45 * (engine != "closed-book"),
                    **trained,
                )
            made_record(
                root,
                policy="Qwen2.5-7B-Instruct, r1",
                agent="r1",
                eval_engine="closed-book",
                suite=suite,
                sets=sizes,
                skill=0.3,
                searches=0,
                state="partial",
                failed=17,
            )
        for bound, skill in (("oracle", 2.0), ("random", 0.0)):
            made_record(
                root,
                policy=bound,
                agent=bound,
                eval_engine="closed-book",
                suite=suite,
                sets=sizes,
                skill=skill,
                searches=0,
            )
