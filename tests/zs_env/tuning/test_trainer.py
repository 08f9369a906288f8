"""The loss that a simulator learns by, held to TRL's and to one that is added up token by token."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from tests.zs_env.tuning import tiny
from zs_env.tuning.tokenising import Encoded, encode, find_end_of_turn
from zs_env.tuning.trainer import collate, completion_loss


def rows(answer_weight: float) -> tuple[list[Encoded], list[dict[str, Any]]]:
    tokenizer = tiny.tokenizer()
    some = [encode(tokenizer, tiny.example(number), find_end_of_turn(tokenizer)) for number in (1, 2, 5)]
    told = [{"input_ids": e.input_ids, "labels": e.labels, "weights": e.weights(answer_weight)} for e in some]
    return some, told


@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_it_is_the_weighted_sum_of_tokens_losses(shape: str) -> None:
    model = tiny.model(shape).eval()
    some, told = rows(3.0)
    assert any(any(each.in_answer) for each in some)
    total, count, right = 0.0, 0, 0
    with torch.no_grad():
        for each in some:
            logits = model(torch.tensor([each.input_ids])).logits[0].log_softmax(-1)
            for at, (token, inside) in enumerate(zip(each.completion, each.in_answer or [False] * 999, strict=False)):
                found = logits[len(each.prompt) + at - 1]
                total -= float(found[token]) * (3.0 if inside else 1.0)
                right += int(found.argmax()) == token
                count += 1
        loss, accuracy = completion_loss(model, collate(told, 256))
        assert float(loss) == pytest.approx(total / count, rel=1e-5)
        assert accuracy == pytest.approx(right / count)
        shared, _ = completion_loss(model, collate(told, 256), num_tokens=2 * count)
        assert float(shared) == pytest.approx(total / count / 2, rel=1e-5)


def test_with_equal_weights_it_is_trl_s() -> None:
    pytest.importorskip("trl")
    from trl.trainer.utils import add_fused_lm_head

    model = tiny.model().eval()
    batch = collate(rows(1.0)[1], 256)
    loss, _ = completion_loss(model, batch)
    add_fused_lm_head(model)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}
    with torch.no_grad():
        assert float(loss) == pytest.approx(float(model(**inputs, fused_lm_head=True).loss), rel=1e-5)


def test_padding_changes_nothing() -> None:
    model = tiny.model().eval()
    told = rows(2.0)[1]
    with torch.no_grad():
        together, _ = completion_loss(model, collate(told, 256), num_tokens=1)
        apart = sum(float(completion_loss(model, collate([one], 256), num_tokens=1)[0]) for one in told)
    assert float(together) == pytest.approx(apart, rel=1e-5)
