from __future__ import annotations

from dataclasses import replace

import pytest

from agents.plan.settings import SamplerKind
from agents.plan.timing import decode_seconds, forward_flops, plan_time, prefill_seconds
from tests.agents.plan import small
from tests.agents.plan.small import COMPUTER, RUN, SHAPE

IDEAL = replace(small.IDEAL, search_latency_s=3)


def test_a_forward_pass_by_hand() -> None:
    # Matrices: 16 + 8 + 8 + 16 + 3·32 = 144 weights, 288 operations a token. Attention to 10 tokens: two products of
    # 2·4·10. A head of 40 weights: 80 operations.
    assert forward_flops(SHAPE, 3, context=10, head_tokens=2) == 3 * (288 + 160) + 2 * 80


def test_reading_and_writing_by_hand() -> None:
    assert prefill_seconds(SHAPE, COMPUTER, IDEAL, rows=2, prompt=10) == (20 * (288 + 80) + 2 * 80) / 1000
    writing = {"rows": 2.0, "prompt": 10.0, "mean_tokens": 4.0, "longest_tokens": 8.0}
    # Over eight passes, one row is left on average; it looks at 12 tokens.
    assert decode_seconds(SHAPE, RUN, COMPUTER, IDEAL, **writing) == pytest.approx(8 * (288 + 16 * 12 + 80) / 1000)
    # A thousand bytes a second: 184 weights of 4 bytes, and 12 tokens of two key vectors of 2 numbers.
    reader = replace(COMPUTER, peak_tflops=1e9, bandwidth_gb_s=1e-6)
    assert decode_seconds(SHAPE, RUN, reader, IDEAL, **writing) == pytest.approx(8 * (184 * 4 + 12 * 16) / 1000)
    halved = replace(RUN, dtype="bfloat16")
    assert decode_seconds(SHAPE, halved, reader, IDEAL, **writing) == pytest.approx(4 * (184 * 4 + 12 * 16) / 1000)


# Four episodes of 10 + 2·5 + 20 = 40 tokens, each looking at 20; ten of them the policy's.
TRUNK, HEAD = 4 * 40 * (288 + 16 * 20) / 1000, 4 * 10 * 80 / 1000
PADDED = replace(RUN, packing="padded")


def test_an_update_is_three_forward_passes_and_a_reference_one() -> None:
    plan = plan_time(SHAPE, replace(PADDED, has_reference=True), COMPUTER, IDEAL)
    forward = TRUNK + HEAD
    assert plan.reference == pytest.approx(forward)
    assert plan.update == pytest.approx(3 * forward, rel=1e-6)
    assert plan.search == 3  # one search an episode, all at once
    assert plan.step == pytest.approx(plan.prefill + plan.decode + 3 + 4 * forward, rel=1e-6)
    assert plan.run == pytest.approx(10 * plan.step)
    # The head lies outside of what is computed again.
    again = plan_time(SHAPE, replace(PADDED, gradient_checkpointing=True), COMPUTER, IDEAL)
    assert again.update == pytest.approx(4 * TRUNK + 3 * HEAD, rel=1e-6)
    adapters = plan_time(SHAPE, replace(PADDED, lora_rank=1), COMPUTER, IDEAL)
    assert adapters.update == pytest.approx(2 * forward, rel=1e-6)
    twice = plan_time(SHAPE, replace(PADDED, num_epochs=2), COMPUTER, IDEAL)
    assert twice.update == pytest.approx(6 * forward, rel=1e-6)


def test_recomputed_logprobs_take_a_forward_pass_more() -> None:
    plain = plan_time(SHAPE, PADDED, COMPUTER, IDEAL)
    plan = plan_time(SHAPE, replace(PADDED, old_logprobs="recomputed"), COMPUTER, IDEAL)
    assert (plain.old_logprobs, plan.old_logprobs) == (0, pytest.approx(TRUNK + HEAD))
    assert plan.step == pytest.approx(plain.step + TRUNK + HEAD)


def test_logits_in_blocks_are_computed_again() -> None:
    packed = plan_time(SHAPE, replace(RUN, packing="packed"), COMPUTER, IDEAL)
    assert packed.update == pytest.approx(3 * TRUNK + 4 * HEAD, rel=1e-6)
    large = replace(SHAPE, vocabulary=5000)
    padded = plan_time(large, PADDED, COMPUTER, IDEAL)
    assert padded.update == pytest.approx(3 * TRUNK + 4 * 500 * HEAD, rel=1e-6)


def test_a_critic_has_no_head_and_is_asked_and_updated() -> None:
    plan = plan_time(SHAPE, replace(PADDED, has_critic=True), COMPUTER, IDEAL)
    assert plan.critic == pytest.approx(4 * TRUNK, rel=1e-6)


def test_sharing_prompts_saves_their_tokens() -> None:
    shared = plan_time(SHAPE, RUN, COMPUTER, IDEAL)
    tokens, context = 4 * 40 - 2 * 10, 20
    assert shared.update == pytest.approx(3 * tokens * (288 + 16 * context) / 1000 + 4 * HEAD, rel=1e-6)


@pytest.mark.parametrize("sampler", ["transformers", "vllm"])
def test_what_is_kept_is_not_read_again(sampler: SamplerKind) -> None:
    kept = plan_time(SHAPE, replace(RUN, sampler=sampler), COMPUTER, IDEAL).prefill
    # Of four rows in groups of two: ten tokens of the prompt, half of them; then twenty of documents, behind 15.
    first = 4 * 5 * (288 + 16 * 2.5) + 4 * 80
    assert kept == pytest.approx((first + 4 * 20 * (288 + 16 * (15 + 10)) + 4 * 80) / 1000)


def test_what_is_not_kept_is_read_at_each_turn() -> None:
    anew = (4 * 10 * (288 + 16 * 5) + 4 * 80 + 4 * 35 * (288 + 16 * 17.5) + 4 * 80) / 1000
    assert plan_time(SHAPE, replace(RUN, keep_cache=False), COMPUTER, IDEAL).prefill == pytest.approx(anew)
    # Where convolutions are among the layers, nothing is kept from turn to turn.
    mixed = replace(SHAPE, num_layers=2, num_conv_layers=1, conv_kernel=3)
    assert (
        plan_time(mixed, RUN, COMPUTER, IDEAL).prefill
        == plan_time(mixed, replace(RUN, keep_cache=False), COMPUTER, IDEAL).prefill
    )
    # Room for half of the 140 tokens: two of four rows are read anew.
    kept = plan_time(SHAPE, RUN, COMPUTER, IDEAL).prefill
    half = plan_time(SHAPE, replace(RUN, max_cached_tokens=70), COMPUTER, IDEAL).prefill
    assert kept < half < anew


def test_several_devices_share_the_episodes() -> None:
    one = plan_time(SHAPE, RUN, COMPUTER, IDEAL)
    two = plan_time(SHAPE, RUN, replace(COMPUTER, num_devices=2), IDEAL)
    assert two.update == pytest.approx(one.update / 2, rel=1e-6)
    assert two.search == one.search


def test_measuring_costs_what_its_episodes_do() -> None:
    plan = plan_time(SHAPE, replace(RUN, evaluation_episodes=8), COMPUTER, IDEAL)
    assert plan.evaluation == pytest.approx(2 * (plan.prefill + plan.decode))
