from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import zs_env
from agents.rllib import FixedLengthTokens
from agents.rllib.tokens import PADDING, SEPARATOR, hash_bytes, hash_words
from agents.testing import byte_tokenizer
from zs_env.errors import ConfigError

gym.register_envs(zs_env)

QUESTION = {"question": "What is the capital of Senegal?", "golden_answers": ["Dakar"]}
LENGTH = len(QUESTION["question"])


def make(**options: Any) -> FixedLengthTokens:
    tokens = options.pop("tokens", {})
    return FixedLengthTokens(gym.make("ZeroSearch-v0", **options), **tokens)


def text_of(ids: Any) -> str:
    """What byte ids say; "|" is the separator."""
    return "".join("|" if i == SEPARATOR else "" if i == PADDING else chr(i - 2) for i in ids.tolist())


@pytest.mark.parametrize("observation", ["transcript", "new"])
def test_the_question_stands_first_then_what_came_after_it(observation: str) -> None:
    env = make(observation=observation, tokens={"tokenizer": "bytes", "length": 2000})
    ids, _ = env.reset(seed=0, options={"question": QUESTION})
    assert text_of(ids) == QUESTION["question"] + "|"
    ids, *_, info = env.step("<search>capital of Senegal</search>")
    said = "" if observation == "new" else "<search>capital of Senegal</search>"
    assert text_of(ids) == QUESTION["question"] + "|" + said + info["new_text"]
    assert env.observation_space.contains(ids)


@pytest.mark.parametrize("cut", ["oldest", "newest"])
def test_the_question_stays_whole_and_the_chosen_side_is_cut(cut: str) -> None:
    env = make(tokens={"tokenizer": "bytes", "length": LENGTH + 1 + 20, "cut": cut})
    env.reset(seed=0, options={"question": QUESTION})
    ids, *_ = env.step("<search>capital of Senegal</search>")
    question, _, said = text_of(ids).partition("|")
    assert question == QUESTION["question"]
    assert said == ("<search>capital of S" if cut == "newest" else env.unwrapped.episode.transcript[-20:])  # type: ignore[attr-defined]


def test_a_question_that_does_not_fit_is_an_error() -> None:
    env = make(tokens={"tokenizer": "bytes", "length": LENGTH})
    with pytest.raises(ConfigError, match=f"at least {LENGTH + 1}"):
        env.reset(options={"question": QUESTION})


def test_words_are_hashed_the_same_everywhere_and_without_case() -> None:
    assert hash_words("Dakar, 1984!", 4096) == hash_words("DAKAR , 1984 !", 4096) == [2241, 878, 1673, 4051]
    assert hash_bytes("é") == [195, 169]


def test_tokenizers_of_transformers_and_callables_are_taken() -> None:
    tokenizer = byte_tokenizer()
    env = make(tokens={"tokenizer": tokenizer, "length": 100})
    ids, _ = env.reset(options={"question": QUESTION})
    expected = tokenizer.encode(QUESTION["question"], add_special_tokens=False)
    assert ids[: len(expected)].tolist() == [number + 2 for number in expected]
    env = make(tokens={"tokenizer": lambda text: [len(text) % 7], "vocab_size": 7, "length": 4})
    ids, _ = env.reset(options={"question": QUESTION})
    assert ids.tolist() == [LENGTH % 7 + 2, SEPARATOR, 2, PADDING]
    assert env.vocab_size == 9


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ({"length": 1}, "length"),
        ({"cut": "left"}, "'oldest' or 'newest'"),
        ({"space": "text"}, "'box' or 'multi_discrete'"),
        ({"dtype": "float32", "space": "multi_discrete"}, "of space 'box'"),
        ({"tokenizer": "wordpiece"}, "'words', 'bytes'"),
        ({"tokenizer": len}, "needs vocab_size"),
        ({"tokenizer": "bytes", "vocab_size": 300}, "vocab_size 256"),
    ],
)
def test_wrong_options_are_told(tokens: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(tokens=tokens)


def test_ids_outside_the_vocabulary_are_told() -> None:
    env = make(tokens={"tokenizer": lambda text: [9], "vocab_size": 7})
    with pytest.raises(ConfigError, match="the id 9"):
        env.reset(seed=0)


def test_multi_discrete_and_float_say_the_same_as_int() -> None:
    seen = [make(tokens=tokens).reset(seed=0)[0] for tokens in ({}, {"space": "multi_discrete"}, {"dtype": "float32"})]
    assert [ids.dtype for ids in seen] == [np.int32, np.int32, np.float32]
    assert np.array_equal(seen[0], seen[1])
    assert np.array_equal(seen[0], seen[2])
