"""How good a policy is on questions, at a given chance of noise: the record M of every summary and leaderboard.

A language model is played through the rollout, greedily and with sampling; any `policy(observation) -> action` through
the episodes directly, and through the very same measures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agents.codec import TextCodec
from agents.conversation import Conversation, EpisodeTask, RolloutSettings, episode_generator, record_search
from agents.policy import Policy
from agents.questions import pick_questions
from agents.rollout import rollout_sync
from agents.samplers.base import Sampler, SamplingSettings
from agents.trajectory import Trajectory
from zs_env.bridge import search_blocking
from zs_env.engines.hostile import attack_succeeded
from zs_env.episode import Episode, EpisodeSettings, Step
from zs_env.intervals import difference_interval, wilson_interval
from zs_env.types import Question, SearchEngine, SearchRequest

__all__ = [
    "evaluate_callable",
    "evaluate_policy",
    "evaluate_samplers",
    "evaluation_tasks",
    "measure",
    "pick_questions",
]

_EVALUATION_KEY = 1


def evaluation_tasks(questions: Sequence[Question], noise_probability: float) -> list[EpisodeTask]:
    """One episode a question, with draws that don't depend on any other question."""
    return [
        EpisodeTask(question=question, group=index, key=(_EVALUATION_KEY, index), noise_probability=noise_probability)
        for index, question in enumerate(questions)
    ]


def evaluate_policy(
    policy: Policy,
    questions: Sequence[Question],
    *,
    engine: SearchEngine,
    episode_settings: EpisodeSettings,
    rollout_settings: RolloutSettings,
    noise_probability: float = 0.0,
    temperature: float = 1.0,
    sampled: bool = True,
    seed: int = 0,
    samplers: tuple[Sampler, Sampler] | None = None,
    sampler_options: Mapping[str, Any] | None = None,
    keep: Callable[[list[Trajectory]], None] | None = None,
) -> dict[str, Any]:
    """Play every question greedily and, if wanted, once more with sampling.

    Args:
        policy: The model.
        questions: What is asked, at least one.
        engine: Who answers searches.
        episode_settings: The rules.
        rollout_settings: Budgets, and how much may fail.
        noise_probability: The chance that a search asks for noisy documents.
        temperature: Of the sampled episodes.
        sampled: Whether to play them.
        seed: Where noise and sampling come from.
        samplers: A greedy and a sampling sampler to use instead of making them.
        sampler_options: What else `TransformersSampler` takes.
        keep: Is given the greedy trajectories.

    Returns:
        See `measure`.
    """
    if samplers is None:
        greedy = policy.sampler(SamplingSettings(greedy=True), **(sampler_options or {}))
        samplers = (greedy, greedy.with_settings(SamplingSettings(temperature=temperature)))
    return evaluate_samplers(
        samplers[: 1 + sampled],
        policy.codec,
        questions,
        engine=engine,
        episode_settings=episode_settings,
        rollout_settings=rollout_settings,
        noise_probability=noise_probability,
        seed=seed,
        keep=keep,
    )


def evaluate_samplers(
    samplers: Sequence[Sampler],
    codec: TextCodec,
    questions: Sequence[Question],
    *,
    engine: SearchEngine,
    episode_settings: EpisodeSettings,
    rollout_settings: RolloutSettings,
    noise_probability: float = 0.0,
    seed: int = 0,
    keep: Callable[[list[Trajectory]], None] | None = None,
) -> dict[str, Any]:
    """Play every question once with each sampler.

    Args:
        samplers: A greedy one, and one that draws if that is wanted, too.
        codec: Their tokenizer's codec.
        questions: What is asked, at least one.
        engine: Who answers searches.
        episode_settings: The rules.
        rollout_settings: Budgets in the codec's tokens, and how much may fail.
        noise_probability: The chance that a search asks for noisy documents.
        seed: Where noise and sampling come from.
        keep: Is given the greedy trajectories.

    Returns:
        See `measure`.
    """
    played = [
        rollout_sync(
            evaluation_tasks(questions, noise_probability),
            sampler=sampler,
            codec=codec,
            engine=engine,
            episode_settings=episode_settings,
            settings=rollout_settings,
            seed=seed,
        ).trajectories
        for sampler in samplers
    ]
    if keep is not None:
        keep(played[0])
    return measure(played[0], played[1] if len(played) > 1 else None)


def evaluate_callable(
    policy: Callable[[str], str],
    questions: Sequence[Question],
    *,
    engine: SearchEngine,
    episode_settings: EpisodeSettings,
    noise_probability: float = 0.0,
    seed: int = 0,
) -> dict[str, Any]:
    """Play every question once with any policy that turns the transcript so far into its next action.

    Noise is drawn as for `evaluate_policy` under the same seed. An error of the policy's own is raised.

    Returns:
        See `measure`; `em_sampled` is None.
    """
    tasks = evaluation_tasks(questions, noise_probability)
    playing = [(_record_of(task), _episode_of(task, episode_settings, seed)) for task in tasks]
    records = [record for record, _ in playing]
    for _, episode in playing:
        episode.begin()
    while playing:
        wanted: list[tuple[Trajectory, Episode, SearchRequest]] = []
        going: list[tuple[Trajectory, Episode]] = []
        for record, episode in playing:
            step = episode.act(policy(episode.transcript))
            if isinstance(step, SearchRequest):
                record.actions.append("search")
                wanted.append((record, episode, step))
            else:
                record.actions.append(step.info["action"])
                if not _finish(record, step):
                    going.append((record, episode))
        results = search_blocking(engine, [request for _, _, request in wanted])
        for (record, episode, _), result in zip(wanted, results, strict=True):
            step = episode.observe(result)
            record.searches.append(record_search(step))
            if not _finish(record, step):
                going.append((record, episode))
        playing = going
    return measure(records, None)


def _record_of(task: EpisodeTask) -> Trajectory:
    question = task.question
    hops = question.metadata.get("hops")
    return Trajectory(
        question_id=question.id,
        question=question.question,
        golden_answers=tuple(question.golden_answers),
        group=task.group,
        noise_probability=task.noise_probability,
        hops=hops if isinstance(hops, int) else None,
    )


def _episode_of(task: EpisodeTask, settings: EpisodeSettings, seed: int) -> Episode:
    return Episode(task.question, settings, episode_generator(seed, task.key), task.noise_probability)


def _finish(record: Trajectory, step: Step) -> bool:
    if step.terminated or step.truncated:
        Conversation.record_end(record, step)
        return True
    return False


def measure(greedy: Sequence[Trajectory], sampled: Sequence[Trajectory] | None) -> dict[str, Any]:
    """The record M, of plain JSON types; shares are None where nothing was counted.

    Everything but `em_sampled` is of the greedy episodes. Failed episodes are in `num_failed` alone.

    Returns:
        - `n`: episodes; `em_greedy`: share of exact matches; `em_greedy_ci`: its 95 % interval (Wilson).
        - `em_sampled`: the same share with sampling.
        - `searches_per_episode`.
        - `search_again_after_noisy`, `search_again_after_useful`: P(the next action is a search | the documents just
          read were asked for as noisy, or useful), over all searches that an action followed.
        - `search_again_single_hop`: the same over questions of one hop, where a second search is never needed for a
          second fact: `after_noisy`, `n_noisy`, `after_useful`, `n_useful`, `difference` and its 95 % interval
          `difference_ci` (Newcombe).
        - `em_greedy_by_hops`: for each number of hops that the source names: `n`, `em`, `ci`.
        - `f1_greedy`, `answered_share`, `num_failed`.
        - `real_search_share`, if a hybrid engine answered: of the searches that didn't fail, those that the real side
          answered. `search_again_…` leaves these out, for the quality that was drawn is nothing to a real engine.
        - `attack_success`, if documents were hostile: see `zs_env.engines.hostile`. Of the episodes that read a pushed
          wrong answer: their number `n`, the `share` that answered it and its interval `ci`; and `by_attack`, for each
          attack that an episode met: `n` of these, `em` and `em_ci`, `n_pushed` (those to which it pushed an answer),
          `share` and `ci`. An episode that met several attacks is counted with each.
    """
    played = [trajectory for trajectory in greedy if not trajectory.failed]
    matches = sum(trajectory.exact_match for trajectory in played)
    again = _search_again(played)
    hops = sorted({trajectory.hops for trajectory in played if trajectory.hops is not None})
    routes = [s.route for t in played for s in t.searches if s.route is not None and s.error is None]
    hybrid = {"real_search_share": _share(routes.count("real"), len(routes))} if routes else {}
    hostile = {"attack_success": _attack_success(played)} if any(map(_attacks, played)) else {}
    return {
        "n": len(played),
        "em_greedy": _share(matches, len(played)),
        "em_greedy_ci": list(wilson_interval(matches, len(played))),
        "em_sampled": None if sampled is None else _mean_match(sampled),
        "searches_per_episode": _share(sum(trajectory.num_searches for trajectory in played), len(played)),
        "search_again_after_noisy": again["after_noisy"],
        "search_again_after_useful": again["after_useful"],
        "search_again_single_hop": _search_again([trajectory for trajectory in played if trajectory.hops == 1]),
        "em_greedy_by_hops": {
            str(number): _matches_of([trajectory for trajectory in played if trajectory.hops == number])
            for number in hops
        },
        "f1_greedy": _share(sum(trajectory.f1 for trajectory in played), len(played)),
        "answered_share": _share(sum(trajectory.status == "answered" for trajectory in played), len(played)),
        "num_failed": len(greedy) - len(played),
        **hybrid,
        **hostile,
    }


def _share(count: float, total: int) -> float | None:
    return count / total if total else None


def _mean_match(trajectories: Sequence[Trajectory]) -> float | None:
    played = [trajectory.exact_match for trajectory in trajectories if not trajectory.failed]
    return _share(sum(played), len(played))


def _matches_of(trajectories: Sequence[Trajectory]) -> dict[str, Any]:
    matches, count = sum(trajectory.exact_match for trajectory in trajectories), len(trajectories)
    return {"n": count, "em": _share(matches, count), "ci": list(wilson_interval(matches, count))}


def _attacks(trajectory: Trajectory) -> list[Mapping[str, Any]]:
    return [attack for search in trajectory.searches for attack in search.attacks]


def _attack_success(trajectories: Sequence[Trajectory]) -> dict[str, Any]:
    met: dict[str, list[Trajectory]] = {}
    for trajectory in trajectories:
        for name in {attack["attack"] for attack in _attacks(trajectory)}:
            met.setdefault(name, []).append(trajectory)
    by_attack = {}
    for name in sorted(met):
        matches = _matches_of(met[name])
        pushed = _pushed(met[name], name)
        by_attack[name] = {
            "n": matches["n"],
            "em": matches["em"],
            "em_ci": matches["ci"],
            "n_pushed": pushed["n"],
            "share": pushed["share"],
            "ci": pushed["ci"],
        }
    return {**_pushed(trajectories), "by_attack": by_attack}


def _pushed(trajectories: Sequence[Trajectory], name: str | None = None) -> dict[str, Any]:
    """Of the episodes that were pushed to a wrong answer (by this attack), the share that gave it."""
    told = [
        attack_succeeded(
            trajectory.answer, [attack for attack in _attacks(trajectory) if name in (None, attack["attack"])]
        )
        for trajectory in trajectories
    ]
    fell = [success for success in told if success is not None]
    return {"n": len(fell), "share": _share(sum(fell), len(fell)), "ci": list(wilson_interval(sum(fell), len(fell)))}


def _search_again(trajectories: Sequence[Trajectory]) -> dict[str, Any]:
    followed: dict[str, list[bool]] = {"noisy": [], "useful": []}
    for trajectory in trajectories:
        for search in trajectory.searches:
            # Turns count from 1, so the action at this index is the one after the search.
            if search.error is None and search.route != "real" and search.turn < len(trajectory.actions):
                followed[search.quality].append(trajectory.actions[search.turn] == "search")
    noisy, useful = followed["noisy"], followed["useful"]
    after_noisy, after_useful = _share(sum(noisy), len(noisy)), _share(sum(useful), len(useful))
    both = after_noisy is not None and after_useful is not None
    return {
        "after_noisy": after_noisy,
        "n_noisy": len(noisy),
        "after_useful": after_useful,
        "n_useful": len(useful),
        "difference": after_noisy - after_useful if after_noisy is not None and after_useful is not None else None,
        "difference_ci": list(difference_interval(sum(noisy), len(noisy), sum(useful), len(useful))) if both else None,
    }
