import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import MambaConfig, MambaForCausalLM

from agents.batches import collate
from agents.codec import TextCodec
from agents.config_sections import SamplingConfig
from agents.errors import NonFiniteError
from agents.policy import Policy
from agents.samplers import Generation, GenerationRequest, SamplingSettings
from agents.samplers.drawing import draw, log_normalizer, truncate, uniforms
from agents.samplers.stopping import StopMatcher
from agents.testing import byte_tokenizer
from agents.trajectory import TokenSegment, Trajectory
from zs_env.errors import ConfigError

NEVER = SamplingSettings(stop_strings=("\x00never",))


def requests_of(*lengths: int, new: int = 24) -> list[GenerationRequest]:
    return [
        GenerationRequest(prompt_ids=[(7 * n + 3 * k) % 250 for k in range(n)], seed=1000 + n, max_new_tokens=new)
        for n in lengths
    ]


def trajectories_of(requests: Sequence[GenerationRequest], generations: Sequence[Generation]) -> list[Trajectory]:
    return [
        Trajectory(
            question_id="q",
            question="q",
            golden_answers=("a",),
            group=0,
            segments=[
                TokenSegment("prompt", tuple(request.prompt_ids), ""),
                TokenSegment("policy", generation.ids, generation.text, generation.logprobs),
            ],
        )
        for request, generation in zip(requests, generations, strict=True)
    ]


def test_a_batch_of_unequal_lengths_equals_one_by_one(model: torch.nn.Module) -> None:
    sampler = Policy(model, byte_tokenizer()).sampler(NEVER)
    requests = requests_of(1, 3, 60, 17, 2)
    together = sampler.generate(requests)
    for request, generation in zip(requests, together, strict=True):
        alone = sampler.generate([request])[0]
        assert generation.ids == alone.ids
        assert generation.logprobs == pytest.approx(alone.logprobs, abs=2e-5)


def test_defect_07_a_prompt_token_with_the_id_of_the_padding_is_read(tiny_policy: Policy) -> None:
    # Shorter prompts are padded with 0 on the left; 0, and the end-of-turn token, also stand within them.
    sampler = tiny_policy.sampler(NEVER)
    requests = [
        GenerationRequest(prompt_ids=[7, 0, 256, 9, 0] * length, seed=length, max_new_tokens=16) for length in (1, 2, 4)
    ]
    for request, generation in zip(requests, sampler.generate(requests), strict=True):
        alone = sampler.generate([request])[0]
        assert generation.ids == alone.ids
        assert generation.logprobs == pytest.approx(alone.logprobs, abs=2e-5)


def test_rows_that_leave_the_batch_and_small_batches_change_nothing(model: torch.nn.Module) -> None:
    policy = Policy(model, byte_tokenizer())
    requests = [
        GenerationRequest(prompt_ids=[5] * (3 + n % 5), seed=n, max_new_tokens=2 + 5 * (n % 4)) for n in range(12)
    ]
    whole = policy.sampler(NEVER, compact_below=0.0).generate(requests)
    for options in ({"compact_below": 1.0}, {"max_batch_tokens": 60, "num_workers": 3}):
        other = policy.sampler(NEVER, **options).generate(requests)
        assert [generation.ids for generation in other] == [generation.ids for generation in whole]


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_sampled_logprobs_are_those_that_the_learner_computes(model: torch.nn.Module, temperature: float) -> None:
    policy = Policy(model, byte_tokenizer())
    requests = requests_of(1, 9, 30)
    generations = policy.sampler(SamplingSettings(temperature=temperature)).generate(requests)
    batch = collate(trajectories_of(requests, generations), pad_id=256)
    learner = policy.token_logprobs(batch, temperature=temperature).logprobs
    torch.testing.assert_close(learner, batch.flat_sampled_logprobs(), atol=2e-5, rtol=0)


def test_a_seed_decides_alone_and_another_differs(tiny_policy: Policy) -> None:
    sampler = tiny_policy.sampler(NEVER)
    same = GenerationRequest(prompt_ids=[1, 2, 3], seed=5, max_new_tokens=12)
    other = GenerationRequest(prompt_ids=[1, 2, 3], seed=6, max_new_tokens=12)
    first, second, third = sampler.generate([same, other, same])
    assert first.ids == third.ids != second.ids


def test_draws_follow_the_distribution() -> None:
    # 20,000 draws of probabilities .5, .3, .2, 0: each frequency within 4 standard errors (sqrt(.25 / 20000) = .0035).
    probabilities = torch.tensor([0.5, 0.3, 0.2, 0.0])
    uniform = uniforms(torch.arange(20_000).numpy().astype("uint64"), 3)
    logits = probabilities.log().expand(20_000, 4)
    for position in range(3):
        drawn = draw(logits, logits.logsumexp(-1), uniform[:, position])
        frequencies = torch.bincount(drawn, minlength=4) / 20_000
        assert frequencies[3] == 0
        torch.testing.assert_close(frequencies, probabilities, atol=0.015, rtol=0)


def test_uniforms_never_reach_an_end() -> None:
    values = uniforms(torch.arange(1000).numpy().astype("uint64") * 2**50, 100)
    assert float(values.min()) > 0
    assert float(values.max()) < 1
    assert abs(float(values.mean()) - 0.5) < 0.01


def test_greedy_takes_the_likeliest_token(model: torch.nn.Module) -> None:
    policy = Policy(model, byte_tokenizer())
    request = requests_of(6, new=5)[0]
    generation = policy.sampler(SamplingSettings(greedy=True)).generate([request])[0]
    ids = list(request.prompt_ids)
    for token, logprob in zip(generation.ids, generation.logprobs, strict=True):
        with torch.inference_mode():
            logprobs = model(input_ids=torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        assert int(logprobs.argmax()) == token
        assert float(logprobs[token]) == pytest.approx(logprob, abs=2e-5)
        ids.append(token)


def test_truncation_keeps_the_nucleus_and_says_what_it_drew_from() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    assert (truncate(logits, top_k=2, top_p=1.0) > -torch.inf).tolist() == [[True, True, False, False]]
    # .5 alone is not yet .6, so the token that crosses it is kept.
    assert (truncate(logits, top_k=0, top_p=0.6) > -torch.inf).tolist() == [[True, True, False, False]]


@pytest.mark.parametrize("options", [{"top_p": 0.9}, {"top_k": 5}, {"greedy": True}])
def test_defect_11_training_refuses_truncated_sampling(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"Training can't sample with {next(iter(options))}"):
        SamplingSettings(**options).check_for_training()  # type: ignore[arg-type]
    SamplingSettings(temperature=0.7).check_for_training()


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_are_an_error(tiny_policy: Policy, poison: float) -> None:
    with torch.no_grad():
        tiny_policy.model.lm_head.weight[3, 0] = poison
    with pytest.raises(NonFiniteError, match="logits"):
        tiny_policy.sampler(NEVER).generate(requests_of(2, 3))


def test_log_normalizer_takes_masked_tokens() -> None:
    assert log_normalizer(torch.tensor([[0.0, -torch.inf]])).tolist() == [0.0]


class FixedLogits(torch.nn.Module):
    """Says a given text, token by token, whatever came before."""

    def __init__(self, ids: Sequence[int], vocabulary: int) -> None:
        super().__init__()
        self.ids, self.vocabulary, self.config = list(ids), vocabulary, type("C", (), {"layer_types": []})()
        self.head = torch.nn.Linear(1, vocabulary, bias=False)

    def get_output_embeddings(self) -> torch.nn.Module:
        return self.head

    def get_input_embeddings(self) -> torch.nn.Module:
        return self.head

    def forward(self, input_ids: torch.Tensor, past_key_values: object, use_cache: bool, **_: object) -> object:
        cache = past_key_values
        step = getattr(cache, "step", 0)
        cache.step = step + 1  # type: ignore[attr-defined]
        logits = torch.full((*input_ids.shape, self.vocabulary), -1e9)
        logits[..., self.ids[step]] = 0.0
        return type("O", (), {"logits": logits})()


def say(text_ids: Sequence[int], *stops: str, new: int = 50, monkeypatch: pytest.MonkeyPatch) -> Generation:
    import agents.samplers.transformers as module

    monkeypatch.setattr(module, "_make_cache", lambda *_: type("Cache", (), {})())
    tokenizer = byte_tokenizer(tags=False)
    sampler = module.TransformersSampler(
        FixedLogits([*text_ids, *[65] * 60], len(tokenizer)),
        TextCodec(tokenizer),
        SamplingSettings(stop_strings=stops),
        eos_ids=[tokenizer.eos_token_id],
    )
    return sampler.generate([GenerationRequest(prompt_ids=[1], seed=0, max_new_tokens=new)])[0]


def test_defect_09_generation_stops_at_a_stop_string_across_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = byte_tokenizer(tags=False)("a > b</search> and much more")["input_ids"]
    generation = say(ids, "</search>", "</answer>", monkeypatch=monkeypatch)
    assert (generation.text, generation.finish_reason) == ("a > b</search>", "stop")
    assert generation.ids == tuple(ids[: len("a > b</search>")])


def test_defect_09_policies_stop_at_the_protocols_stop_strings_unless_told_otherwise() -> None:
    # What a run's configuration makes for training, and what evaluation and `ask` begin with.
    for made in (SamplingConfig().settings(), SamplingSettings(), SamplingSettings(greedy=True)):
        assert made.stop_strings == ("</search>", "</answer>")


class Lottery(FixedLogits):
    """Says token 65 with probability 0.9, and each of the next ten with 0.01."""

    def forward(self, input_ids: torch.Tensor, past_key_values: object, use_cache: bool, **_: object) -> object:
        logits = torch.full((*input_ids.shape, self.vocabulary), -torch.inf)
        logits[..., 65] = math.log(0.9)
        logits[..., 66:76] = math.log(0.01)
        return type("O", (), {"logits": logits})()


def test_defect_11_training_draws_from_the_whole_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    import agents.samplers.transformers as module

    monkeypatch.setattr(module, "_make_cache", lambda *_: type("Cache", (), {})())
    codec = TextCodec(byte_tokenizer(tags=False))
    sampler = module.TransformersSampler(Lottery([], 257), codec, SamplingConfig().settings())
    generations = sampler.generate(
        [GenerationRequest(prompt_ids=[1], seed=seed, max_new_tokens=1) for seed in range(2000)]
    )
    drawn = [generation.ids[0] for generation in generations]
    assert set(drawn) == set(range(65, 76))
    # 0.1 · 2000 = 200 of the rare ones, within 4 standard errors of sqrt(2000 · 0.9 · 0.1) = 13.4.
    assert 146 <= sum(token != 65 for token in drawn) <= 254
    for token, generation in zip(drawn, generations, strict=True):
        assert generation.logprobs[0] == pytest.approx(math.log(0.9 if token == 65 else 0.01), abs=1e-5)


def test_a_stop_string_whose_last_character_is_split_between_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = byte_tokenizer(tags=False)("né。 更多")["input_ids"]
    generation = say(ids, "。", monkeypatch=monkeypatch)
    assert (generation.text, generation.finish_reason) == ("né。", "stop")


def test_defect_06_the_end_of_turn_token_is_kept_and_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    generation = say([64, 65, 256, 66], "</search>", monkeypatch=monkeypatch)
    assert generation.ids == (64, 65, 256)
    assert len(generation.logprobs) == 3
    assert generation.finish_reason == "eos"
    assert "<|end|>" not in generation.text


def test_the_budget_ends_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    generation = say([64] * 50, "</search>", new=7, monkeypatch=monkeypatch)
    assert (len(generation.ids), generation.finish_reason) == (7, "length")


class MergedTokenizer:
    """Tokens of several characters, one of which ends after the stop string does."""

    texts = ("<sea", "</sea", "rch>", "rch>\n", "x", "")

    def __len__(self) -> int:
        return len(self.texts)

    def batch_decode(self, batch: list[list[int]], **_: object) -> list[str]:
        return [self.decode(ids) for ids in batch]

    def decode(self, ids: Sequence[int], **_: object) -> str:
        return "".join(self.texts[token] for token in ids)


def test_a_stop_string_may_end_inside_a_token() -> None:
    tokenizer = MergedTokenizer()
    matcher = StopMatcher(tokenizer, tokenizer.decode, ("</search>",), vocabulary_size=8)
    assert matcher.may_complete(torch.arange(8)).tolist() == [False, False, True, True, False, False, False, False]
    assert matcher.completes([4, 1, 3])
    assert not matcher.completes([0, 2])


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=30), st.sampled_from(["</search>", "。", "é>", "🙂"]), st.text(max_size=10))
def test_stopping_finds_what_a_search_of_the_text_finds(before: str, stop: str, after: str) -> None:
    tokenizer = byte_tokenizer(tags=False)
    codec = TextCodec(tokenizer)
    matcher = StopMatcher(tokenizer, codec.decode, (stop,), len(tokenizer))
    ids = codec.encode(before + stop + after)
    may = matcher.may_complete(torch.tensor(ids)).tolist()
    end = next(n for n in range(1, len(ids) + 1) if may[n - 1] and matcher.completes(ids[:n]))
    text = before + stop + after
    first = text.encode()[: len(text[: text.index(stop)].encode()) + len(stop.encode())]
    assert codec.decode(ids[:end]) == first.decode()


def test_a_recurrent_model_that_reads_padding_samples_rows_of_one_length_together() -> None:
    torch.manual_seed(0)
    shape = {"vocab_size": 272, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, "initializer_range": 0.3}
    policy = Policy(MambaForCausalLM(MambaConfig(**shape)).eval(), byte_tokenizer())
    sampler = policy.sampler(NEVER)
    assert not sampler._pads
    requests = requests_of(20, 3, 20, 3, 7, new=6)
    assert sorted(len(chunk) for chunk in sampler._chunks(requests)) == [1, 2, 2]
    for request, generation in zip(requests, sampler.generate(requests), strict=True):
        ids = [*request.prompt_ids, *generation.ids]
        with torch.no_grad():
            logs = policy.model(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(-1)
        places = range(len(request.prompt_ids) - 1, len(ids) - 1)
        naive = [float(logs[place, ids[place + 1]]) for place in places]
        assert generation.logprobs == pytest.approx(naive, abs=1e-4)


def test_a_model_that_leaves_padding_out_samples_rows_of_all_lengths_together(tiny_policy: Policy) -> None:
    sampler = tiny_policy.sampler(NEVER)
    assert sampler._pads
    assert len(sampler._chunks(requests_of(20, 3, 7))) == 1
