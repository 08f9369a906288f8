"""What is learned is what is asked when it serves: the ids of prompts, and where completions begin and end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("transformers")

from tests.zs_env.tuning import tiny
from zs_env.errors import ConfigError
from zs_env.tuning.tokenising import IGNORED, encode, encode_all, find_end_of_turn
from zs_env.types import Question


@pytest.fixture
def tokenizer() -> Any:
    return tiny.tokenizer()


def test_a_prompt_is_what_a_server_makes_of_the_messages(tokenizer: Any) -> None:
    example = tiny.example(3)
    encoded = encode(tokenizer, example, find_end_of_turn(tokenizer))
    served = tokenizer.apply_chat_template(list(example.prompt), add_generation_prompt=True, return_dict=False)
    assert list(encoded.prompt) == served


def test_a_completion_is_the_text_and_the_end_of_its_turn(tokenizer: Any) -> None:
    example = tiny.example(3)
    encoded = encode(tokenizer, example, find_end_of_turn(tokenizer))
    assert tokenizer.decode(encoded.completion) == example.completion[0]["content"] + "<|end|>"


def test_labels_hide_the_prompt_and_nothing_else(tokenizer: Any) -> None:
    encoded = encode(tokenizer, tiny.example(3), find_end_of_turn(tokenizer))
    num = len(encoded.prompt)
    assert encoded.labels[:num] == [IGNORED] * num
    assert encoded.labels[num:] == encoded.input_ids[num:] == list(encoded.completion)


def test_long_examples_are_left_out_and_counted(tokenizer: Any) -> None:
    examples = [tiny.example(number) for number in range(10)]
    lengths = sorted(len(encode(tokenizer, example, find_end_of_turn(tokenizer))) for example in examples)
    kept = encode_all(tokenizer, examples, max_tokens=lengths[6])
    assert kept.num_too_long == sum(length > lengths[6] for length in lengths)
    assert len(kept.examples) == 10 - kept.num_too_long
    assert max(map(len, kept.examples)) == lengths[6]
    assert kept.num_tokens == sum(len(one.input_ids) for one in kept.examples)


def test_a_template_that_writes_the_prompt_otherwise_before_a_reply_is_refused(tokenizer: Any) -> None:
    tokenizer.chat_template = (
        "{% for message in messages %}<|start|>{{ loop.length }}{{ message['content'] }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}<|start|>{% endif %}"
    )
    with pytest.raises(ConfigError, match="writes the prompt otherwise"):
        find_end_of_turn(tokenizer)


def test_a_template_without_an_end_of_turn_is_refused(tokenizer: Any) -> None:
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
    with pytest.raises(ConfigError, match="no special token"):
        find_end_of_turn(tokenizer)


def test_a_model_without_a_chat_template_is_refused(tokenizer: Any) -> None:
    tokenizer.chat_template = None
    with pytest.raises(ConfigError, match="instruction-tuned"):
        find_end_of_turn(tokenizer)


def test_a_completion_of_two_messages_is_refused(tokenizer: Any) -> None:
    example = tiny.example(0)
    twice = replace(example, completion=(*example.completion, *example.completion))
    with pytest.raises(ConfigError, match="one message of the assistant's"):
        encode(tokenizer, twice, find_end_of_turn(tokenizer))


def test_the_tokens_of_an_answer_are_told_from_the_others(tokenizer: Any) -> None:
    example = replace(
        tiny.example(3),
        question=Question(id="q", question="Where?", golden_answers=("Lima", "Lima, Peru")),
        completion=({"role": "assistant", "content": "Doc 1: Limassol isn't LIMA, Peru."},),
    )
    encoded = encode(tokenizer, example, find_end_of_turn(tokenizer))
    answer = [token for token, inside in zip(encoded.completion, encoded.in_answer, strict=True) if inside]
    assert tokenizer.decode(answer) == "LIMA, Peru"
    assert encoded.weights(4.0) == [1.0] * len(encoded.prompt) + [4.0 if one else 1.0 for one in encoded.in_answer]


def test_without_an_answer_all_tokens_count_the_same(tokenizer: Any) -> None:
    example = replace(tiny.example(3), completion=({"role": "assistant", "content": "Doc 1: Nothing."},))
    encoded = encode(tokenizer, example, find_end_of_turn(tokenizer))
    assert set(encoded.weights(4.0)) == {1.0}
