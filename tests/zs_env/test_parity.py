"""The sync, vector and async ways of stepping give the same text, rewards and info for the same actions."""

from __future__ import annotations

import asyncio
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import RecordEpisodeStatistics, TimeLimit
from gymnasium.wrappers import vector as vector_wrappers

import zs_env
from tests.zs_env.playing import WaitingEngine, random_action, row, without_time
from zs_env import Document, SearchRequest, SearchResult, SimulatedSearchEnv, SimulatedSearchVectorEnv

MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED]
NUM_ENVS = 5


def options(engine: bool) -> dict[str, Any]:
    noise: dict[str, Any] = {"noise_probability": 0.4}
    return {**noise, "max_turns": 4, "engine": WaitingEngine()} if engine else {**noise, "max_turns": 4}


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("script", range(4))
def test_vector_equals_gymnasiums_own_vector_of_single_envs(script: int, mode: AutoresetMode, waits: bool) -> None:
    given = options(waits)
    ours = SimulatedSearchVectorEnv(NUM_ENVS, autoreset_mode=mode, **given)
    theirs = SyncVectorEnv([lambda: SimulatedSearchEnv(**given)] * NUM_ENVS, autoreset_mode=mode)
    rng = np.random.default_rng(script)
    (our_obs, our_info), (their_obs, their_info) = ours.reset(seed=script), theirs.reset(seed=script)
    assert our_obs == their_obs
    questions = list(our_info["question"])
    for _ in range(5 if waits else 25):
        for i in range(NUM_ENVS):
            assert without_time(row(our_info, i)) == without_time(row(their_info, i))
            if our_info.get("_question", np.zeros(NUM_ENVS, bool))[i]:
                questions[i] = our_info["question"][i]
            assert_same_final(our_info, their_info, i)
        actions = [random_action(rng, question) for question in questions]
        our_obs, *our_numbers, our_info = ours.step(actions)
        their_obs, *their_numbers, their_info = theirs.step(tuple(actions))
        assert our_obs == their_obs
        for one, other in zip(our_numbers, their_numbers, strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)
        done = our_numbers[1] | our_numbers[2]
        if mode is AutoresetMode.DISABLED and done.any():
            our_obs, our_info = ours.reset(options={"reset_mask": done})
            their_obs, their_info = theirs.reset(options={"reset_mask": done.copy()})
            assert our_obs == their_obs


def assert_same_final(ours: dict[str, Any], theirs: dict[str, Any], i: int) -> None:
    mask = "_final_obs"
    assert (mask in ours) == (mask in theirs)
    if mask in ours and ours[mask][i]:
        assert ours["final_obs"][i] == theirs["final_obs"][i]
        assert without_time(row(ours["final_info"], i)) == without_time(row(theirs["final_info"], i))


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("script", range(3))
def test_astep_equals_step(script: int, waits: bool) -> None:
    given = options(waits)
    one, other = SimulatedSearchEnv(**given), SimulatedSearchEnv(**given)

    async def play() -> None:
        rng = np.random.default_rng(script)
        for episode in range(3 if waits else 12):
            seed = script * 100 + episode
            obs, info = one.reset(seed=seed)
            assert (obs, info) == other.reset(seed=seed)
            done = False
            while not done:
                action = random_action(rng, info.get("question", "what is it"))
                mine, theirs = await one.astep(action), other.step(action)
                assert mine[:4] == theirs[:4]
                assert without_time(mine[4]) == without_time(theirs[4])
                done = mine[2] or mine[3]

    asyncio.run(play())


def test_vector_astep_equals_step() -> None:
    one, other = (SimulatedSearchVectorEnv(3, **options(True)) for _ in range(2))
    rng = np.random.default_rng(0)

    async def play() -> None:
        _, info = one.reset(seed=0)
        other.reset(seed=0)
        for _ in range(4):
            actions = [random_action(rng, question or "what") for question in info.get("question", ["what"] * 3)]
            mine, theirs = await one.astep(actions), other.step(actions)
            assert mine[0] == theirs[0]
            np.testing.assert_array_equal(mine[1], theirs[1])

    asyncio.run(play())


def test_defect_22_searches_of_many_episodes_overlap() -> None:
    engine = WaitingEngine()
    envs = [SimulatedSearchEnv(engine=engine) for _ in range(16)]

    async def play() -> None:
        for i, env in enumerate(envs):
            env.reset(seed=i)
        await asyncio.gather(*(env.astep("<search>x</search>") for env in envs))

    asyncio.run(play())
    assert engine.most_pending == 16


def test_a_vector_step_searches_once_for_all() -> None:
    engine = WaitingEngine()
    envs = SimulatedSearchVectorEnv(6, engine=engine)
    envs.reset(seed=0)
    envs.step(["<search>x</search>"] * 4 + ["<answer>x</answer>", "nothing"])
    assert engine.calls == [4]


def test_defect_15_every_search_keeps_its_own_question() -> None:
    class Telling(WaitingEngine):
        def _answer(self, request: SearchRequest) -> SearchResult:
            return SearchResult(documents=(Document(request.question.id),), engine=self.name)

    envs = SimulatedSearchVectorEnv(6, engine=Telling())
    _, info = envs.reset(seed=0)
    asked = list(info["question_id"])
    *_, info = envs.step(["<search>x</search>" if i % 2 else "no action" for i in range(6)])
    assert [info["search"]["documents"][i][0].text for i in (1, 3, 5)] == asked[1::2]


def test_environment_i_is_seeded_with_seed_plus_i() -> None:
    envs = gym.make_vec("ZeroSearch-v0", num_envs=3)
    observations, _ = envs.reset(seed=40)
    singles = [gym.make("ZeroSearch-v0").reset(seed=40 + i)[0] for i in range(3)]
    assert list(observations) == singles
    assert envs.unwrapped.np_random_seed == (40, 41, 42)


def test_time_limits_agree() -> None:
    vector = SimulatedSearchVectorEnv(2, max_episode_steps=2, autoreset_mode="SameStep")
    single = TimeLimit(SimulatedSearchEnv(), 2)
    vector.reset(seed=0)
    single.reset(seed=0)
    for _ in range(2):
        *_, truncated, info = vector.step(["<search>x</search>"] * 2)
        observation, *_, single_truncated, _ = single.step("<search>x</search>")
        assert truncated[0] == single_truncated
    assert info["final_obs"][0] == observation


@pytest.mark.parametrize("mode", MODES[:2])
def test_episode_statistics_of_the_vector(mode: AutoresetMode) -> None:
    envs = vector_wrappers.RecordEpisodeStatistics(gym.make_vec("ZeroSearch-v0", num_envs=2, autoreset_mode=mode))
    envs.reset(seed=0)
    envs.step(["<search>x</search>", "no"])
    *_, info = envs.step(["<answer>x</answer>", "<search>x</search>"])
    seen = info["final_info"] if "final_info" in info and "episode" in info["final_info"] else info
    assert seen["episode"]["l"][0] == 2
    assert list(seen["_episode"]) == [True, False]


def test_episode_statistics_of_one() -> None:
    env = RecordEpisodeStatistics(gym.make("ZeroSearch-v0"))
    env.reset(seed=0)
    env.step("no")
    *_, info = env.step("<answer>x</answer>")
    assert info["episode"]["l"] == 2


def test_seeds_make_runs_equal_and_different() -> None:
    texts = []
    for seed in (1, 1, 2):
        envs = zs_env.SimulatedSearchVectorEnv(8, noise_probability=0.5)
        _, info = envs.reset(seed=seed)
        texts.append([envs.step([f"<search>{q}</search>" for q in info["question"]])[0] for _ in range(3)])
    assert texts[0] == texts[1] != texts[2]
