"""Defects of other systems, numbered, each as a small change to our code that a test can make and undo.

Each is as faithful as our code lets it be: the docstring says what the other systems do. The code around it runs on, so
that a test which is any good fails by its own assertion.
"""

import dataclasses
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from agents import advantages, algorithm, batches, conversation, losses, ppo, reinforce
from agents.accumulation import Accumulator
from agents.algorithm import PolicyLoss
from agents.codec import TextCodec
from agents.conversation import Conversation, EpisodeTask
from agents.policy import Policy
from agents.reinforce import ReinforceSettings
from agents.samplers import Generation, GenerationRequest, SamplingSettings
from agents.samplers import transformers as sampling
from agents.samplers.drawing import truncate
from agents.samplers.stopping import StopMatcher
from agents.trajectory import TokenSegment, Trajectory
from zs_env import actions, prompts, rewards
from zs_env.actions import Action
from zs_env.episode import Episode
from zs_env.errors import ConfigError

Patch = pytest.MonkeyPatch
Plant = Callable[[Patch], None]

END = 256  # the byte tokenizer's end-of-turn token, which also pads


def replace_everywhere(patch: Patch, original: object, planted: object) -> None:
    """Put one function in another's place under every name by which our modules know it."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("agents", "zs_env", "tests"):
            for attribute, value in list(vars(module).items()):
                if value is original:
                    patch.setattr(module, attribute, planted)


# Scores


def plant_01_the_last_answer_of_the_whole_transcript_is_scored(patch: Patch) -> None:
    """Search-R1 and ZeroSearch look for the answer in prompt + documents + response: no answer scores as "Beijing"."""
    finish = Episode._finish

    def planted(self: Episode, status: Any, *, answer: str | None, action: str) -> Any:
        found = re.findall(r"<answer>(.*?)</answer>", self.transcript)
        return finish(self, status, answer=found[-1].strip() if found else answer, action=action)

    patch.setattr(Episode, "_finish", planted)


def plant_01_a_golden_answer_anywhere_is_a_right_answer(patch: Patch) -> None:
    """The same, by containment: whatever stands in prompt or documents counts as said."""
    finish = Episode._finish

    def planted(self: Episode, status: Any, *, answer: str | None, action: str) -> Any:
        found = [gold for gold in self.question.golden_answers if gold in self.transcript]
        return finish(self, status, answer=found[0] if found else answer, action=action)

    patch.setattr(Episode, "_finish", planted)


def plant_02_documents_and_questions_are_not_escaped(patch: Patch) -> None:
    """ZeroSearch, Search-R1 and SkyRL-gym paste documents as they are, tags and all."""
    patch.setattr(prompts, "_show_short_document", prompts._show_document)  # or its cache would outlive the plant
    replace_everywhere(patch, prompts.escape, lambda text: text)


def plant_03_exact_match_is_containment(patch: Patch) -> None:
    """ZeroSearch's "EM": the gold, normalised, stands somewhere in the answer; "A" normalises to nothing at all."""

    def normalize(text: str) -> str:
        return " ".join(re.sub(r"\b(a|an|the)\b", " ", text.lower()).split())

    def planted(answer: str | None, golden_answers: Sequence[str]) -> float:
        return float(any(normalize(gold) in normalize(answer or "") for gold in golden_answers))

    replace_everywhere(patch, rewards.exact_match_score, planted)


# Tokens and gradients


def plant_05_the_kl_term_is_taken_off_the_loss(patch: Patch) -> None:
    """ZeroSearch: loss - coef · KL, which rewards leaving the reference model. The KL that is logged looks right."""
    call = PolicyLoss.__call__

    def planted(self: PolicyLoss, tokens: Any) -> Any:
        return call(dataclasses.replace(self, kl_coef=-self.kl_coef), tokens)

    patch.setattr(PolicyLoss, "__call__", planted)


def plant_05_the_kl_estimate_has_the_wrong_sign(patch: Patch) -> None:
    """The same, where the estimate itself is turned round, in the log too."""
    estimate = losses.kl_penalty
    replace_everywhere(patch, estimate, lambda *args: -estimate(*args))


def plant_05_the_kl_penalty_adds_to_rewards(patch: Patch) -> None:
    """The same, where the penalty is in each token's reward."""
    spread = advantages.token_rewards
    replace_everywhere(
        patch, spread, lambda reward, count, kl=None, *, kl_coef=0.0: spread(reward, count, kl, kl_coef=-kl_coef)
    )


def plant_06_actions_are_decoded_cut_and_encoded_again(patch: Patch) -> None:
    """ZeroSearch and Search-R1 train on the ids of the text that they cut, not on those that were sampled."""
    take, parse = Conversation.take, actions.parse_action

    def planted(self: Conversation, generation: Generation) -> Any:
        ids = tuple(self._codec.encode(generation.text[: parse(generation.text).end]))
        logprobs = (*generation.logprobs, *[0.0] * len(ids))[: len(ids)]
        return take(self, dataclasses.replace(generation, ids=ids, logprobs=logprobs))

    patch.setattr(Conversation, "take", planted)


def plant_06_the_whole_conversation_is_encoded_again_for_each_turn(patch: Patch) -> None:
    """The same, for what the policy is asked to continue: other ids than those it has written."""
    ask = Conversation.request

    def planted(self: Conversation) -> GenerationRequest:
        return dataclasses.replace(ask(self), prompt_ids=self._codec.encode(self._codec.decode(self._ids)))

    patch.setattr(Conversation, "request", planted)


def plant_06_a_sampler_strips_the_end_of_turn_token(patch: Patch) -> None:
    """ZeroSearch and Search-R1 decode without special tokens, so that ending is never trained."""
    make = sampling.TransformersSampler._generation

    def planted(self: Any, ids: list[int], logprobs: list[float], reason: Any) -> Generation:
        made = make(self, ids, logprobs, reason)
        kept = len(ids) - (reason == "eos")
        return dataclasses.replace(made, ids=made.ids[:kept], logprobs=made.logprobs[:kept])

    patch.setattr(sampling.TransformersSampler, "_generation", planted)


def plant_06_a_conversation_strips_the_end_of_turn_token(patch: Patch) -> None:
    """The same, after sampling."""
    take = Conversation.take

    def planted(self: Conversation, generation: Generation) -> Any:
        kept = len(generation.ids) - (generation.ids[-1:] == (END,))
        cut = dataclasses.replace(generation, ids=generation.ids[:kept], logprobs=generation.logprobs[:kept])
        return take(self, cut)

    patch.setattr(Conversation, "take", planted)


def plant_07_tokens_with_the_id_of_the_padding_leave_the_mask(patch: Patch) -> None:
    """ZeroSearch and Search-R1 make masks of `ids != pad_id`; with pad = eos, turn delimiters are in none of them."""
    collate = batches.collate

    def planted(trajectories: Sequence[Trajectory], *, pad_id: int = 0) -> batches.TokenBatch:
        batch = collate(trajectories, pad_id=pad_id)
        return dataclasses.replace(batch, policy_mask=batch.policy_mask & (batch.ids != pad_id))

    replace_everywhere(patch, collate, planted)


def plant_07_tokens_with_the_id_of_the_padding_move_to_the_end(patch: Patch) -> None:
    """ZeroSearch and Search-R1 sort each row by `ids == pad_id` to gather its padding, and turn delimiters with it."""
    collate = batches.collate

    def planted(trajectories: Sequence[Trajectory], *, pad_id: int = 0) -> batches.TokenBatch:
        batch = collate(trajectories, pad_id=pad_id)
        order = (batch.ids == pad_id).to(torch.int8).argsort(dim=1, stable=True)
        return batches.TokenBatch(*(getattr(batch, name).gather(1, order) for name in batch.__slots__))

    replace_everywhere(patch, collate, planted)


def plant_07_a_sampler_does_not_read_tokens_with_the_id_of_the_padding(patch: Patch) -> None:
    """The same mask, as the attention mask that prompts are sampled with."""
    forward = sampling._Batch._forward

    def planted(self: Any, ids: torch.Tensor, positions: torch.Tensor) -> None:
        if self._length == 0 and self._mask is not None:
            self._mask[:, : ids.shape[1]] *= ids != 0
        forward(self, ids, positions)

    patch.setattr(sampling._Batch, "_forward", planted)


def plant_07_a_learner_does_not_read_tokens_with_the_id_of_the_padding(patch: Patch) -> None:
    """The same mask, as the attention mask that log-probs are recomputed with."""

    def planted(self: Policy, ids: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(input_ids=ids, attention_mask=(ids != END).long(), use_cache=False).logits
        return logits[places]

    patch.setattr(Policy, "_logits_at", planted)


def plant_08_the_context_is_cut_from_the_left(patch: Patch) -> None:
    """ZeroSearch and Search-R1 keep the last `max_prompt_length` tokens: the question is the first thing to go."""
    ask = Conversation.request

    def planted(self: Conversation) -> GenerationRequest:
        request = ask(self)
        return dataclasses.replace(request, prompt_ids=request.prompt_ids[-400:])

    patch.setattr(Conversation, "request", planted)


def plant_08_a_long_prompt_is_cut_from_the_left(patch: Patch) -> None:
    """The same, before the first turn: a prompt that is too long loses its beginning in silence."""
    encode = TextCodec.encode_first
    patch.setattr(TextCodec, "encode_first", lambda self, text: encode(self, text)[-20:])


def plant_08_a_long_question_is_cut(patch: Patch) -> None:
    """The same, in characters."""
    render = prompts.render_prompt
    replace_everywhere(patch, render, lambda template, question: render(template, question)[-4000:])


def plant_08_what_is_trained_on_is_cut_from_the_right(patch: Patch) -> None:
    """ZeroSearch and Search-R1 cut the response at `max_response_length`: the answer is the first thing to go."""

    def room(self: Conversation) -> int:
        return self._settings.max_episode_tokens - len(self._ids)

    add = Conversation._add

    def planted(self: Conversation, segment: TokenSegment) -> None:
        room = self._settings.max_episode_tokens - len(self._ids)
        logprobs = None if segment.logprobs is None else segment.logprobs[:room]
        add(self, dataclasses.replace(segment, ids=segment.ids[:room], logprobs=logprobs))

    patch.setattr(Conversation, "_room_for_documents", room)
    patch.setattr(Conversation, "_leaves_room", lambda self, num_tokens: num_tokens <= room(self))
    patch.setattr(Conversation, "_add", planted)


def plant_08_an_observation_is_cut_with_its_closing_tag(patch: Patch) -> None:
    """ZeroSearch and Search-R1 cut an observation to `max_obs_length`, whatever stands at its end."""
    render = prompts.render_information
    replace_everywhere(patch, render, lambda shown: render(shown)[:100])


def plant_08_the_tokens_of_an_observation_are_cut_with_its_closing_tag(patch: Patch) -> None:
    """The same, in tokens, where the text for people still looks whole."""
    add = Conversation._add

    def planted(self: Conversation, segment: TokenSegment) -> None:
        kept = segment.ids[:450] if segment.provenance == "environment" else segment.ids
        add(self, dataclasses.replace(segment, ids=kept))

    patch.setattr(Conversation, "_add", planted)


def plant_09_nothing_stops_at_a_stop_string(patch: Patch) -> None:
    """ZeroSearch and Search-R1 generate up to 500 tokens past `</search>`."""
    patch.setattr(StopMatcher, "completes", lambda self, ids: False)


def plant_09_no_stop_strings_are_set(patch: Patch) -> None:
    """The same, by default: the engine could stop, but isn't told where."""
    patch.setitem(SamplingSettings.__init__.__kwdefaults__, "stop_strings", ())  # type: ignore[arg-type]


def plant_10_a_search_beats_an_earlier_answer(patch: Patch) -> None:
    """ZeroSearch cuts at `</search>` if there is one anywhere, and looks for `</answer>` only then."""
    parse = actions.parse_action

    def planted(text: str) -> Action:
        search = re.search(r"<search>(.*?)</search>", text)
        return Action("search", search[1].strip(), search.end()) if search else parse(text)

    replace_everywhere(patch, parse, planted)


def plant_10_a_tag_quoted_in_a_thought_is_the_action(patch: Patch) -> None:
    """ZeroSearch takes the first tags that match, inside `<think>` too."""
    parse = actions.parse_action

    def planted(text: str) -> Action:
        found = re.search(r"<(search|answer)>(.*?)</\1>", text)
        return Action(found[1], found[2].strip(), found.end()) if found else parse(text)  # type: ignore[arg-type]

    replace_everywhere(patch, parse, planted)


def plant_10_a_stop_string_quoted_in_a_thought_ends_the_turn(patch: Patch) -> None:
    """Whatever the tags are quoted in, the engine's stop string has stopped the policy."""
    replace_everywhere(patch, conversation.is_inside_thought, lambda text: False)


def plant_11_any_sampling_may_be_trained_on(patch: Patch) -> None:
    """ZeroSearch trains with top-p sampling, and nothing objects."""
    patch.setattr(SamplingSettings, "check_for_training", lambda self: None)


def plant_11_top_p_is_in_the_sampling_and_not_in_the_log_probs(patch: Patch) -> None:
    """ZeroSearch draws from the nucleus and computes log-probs of the whole distribution: a biased ratio."""
    choose = sampling.TransformersSampler._choose

    def planted(self: Any, logits: torch.Tensor, uniform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        chosen, _ = choose(self, truncate(logits, top_k=0, top_p=0.95), uniform)
        return chosen, logits.log_softmax(-1).gather(-1, chosen[:, None])[:, 0]

    patch.setattr(sampling.TransformersSampler, "_choose", planted)


def plant_12_groups_are_numbered_within_each_data_set(patch: Patch) -> None:
    """Search-R1 groups by a data set's own index; here, two data sets of two questions, each numbered from 0."""
    numbers: dict[str, int] = {}

    def planted(**task: Any) -> EpisodeTask:
        number = numbers.setdefault(task["question"].id, len(numbers) % 2)
        return EpisodeTask(**(task | {"group": number}))

    patch.setattr(algorithm, "EpisodeTask", planted)


def plant_13_retrieved_tokens_are_the_policys(patch: Patch) -> None:
    """ZeroSearch's and Search-R1's PPO: whatever follows the prompt has values, returns and a loss."""

    def policy_mask(self: Trajectory) -> list[bool]:
        return [segment.provenance != "prompt" for segment in self.segments for _ in segment.ids]

    patch.setattr(Trajectory, "policy_mask", policy_mask)
    patch.setattr(Trajectory, "num_policy_tokens", property(lambda self: sum(self.policy_mask())))


def plant_13_returns_go_through_retrieved_tokens(patch: Patch) -> None:
    """ZeroSearch's and Search-R1's PPO discounts over them; here, nine in the middle of an episode, as the tests do."""
    estimate = advantages.generalized_advantages

    def planted(rewards: torch.Tensor, values: torch.Tensor, **options: float) -> torch.Tensor:
        half = len(values) // 2
        between = torch.zeros(9)
        found = estimate(
            torch.cat([rewards[:half], between, rewards[half:]]),
            torch.cat([values[:half], between + values[0], values[half:]]),
            **options,
        )
        return torch.cat([found[:half], found[half + 9 :]])

    patch.setattr(ppo, "generalized_advantages", planted)


def plant_13_whitening_is_over_retrieved_tokens_too(patch: Patch) -> None:
    """ZeroSearch's and Search-R1's PPO whitens by the attention mask; here, nine tokens more an episode."""
    whiten = advantages.whiten

    def planted(parts: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        return [part[9:] for part in whiten([torch.cat([part[:1].expand(9), part]) for part in parts])]

    replace_everywhere(patch, whiten, planted)


def plant_13_reinforce_has_no_baseline(patch: Patch) -> None:
    """ZeroSearch's REINFORCE: the return alone, so rewards of 0 and 1 push nothing down."""
    patch.setattr(reinforce, "baselines", lambda rewards, groups, baseline: torch.zeros(len(rewards)))


def plant_13_reinforce_has_no_baseline_by_default(patch: Patch) -> None:
    """The same, unless one asks for a baseline."""
    patch.setitem(ReinforceSettings.__init__.__kwdefaults__, "baseline", "none")  # type: ignore[arg-type]


def plant_14_the_mean_of_micro_batch_means(patch: Patch) -> None:
    """ZeroSearch divides each micro-batch's mean by their number, so tokens of a small last one weigh more."""
    accumulate = Accumulator.accumulate

    def planted(self: Accumulator, examples: Any, loss_of: Any, aggregation: Any) -> dict[str, float]:
        parts = self._micro_batches(examples)
        found = [accumulate(self, [examples[index] for index in part], loss_of, aggregation) for part in parts]
        assert self._parameters is not None
        for parameter in self._parameters.masters:
            if parameter.grad is not None:
                parameter.grad /= len(parts)
        return {name: sum(metrics[name] for metrics in found) / len(parts) for name in found[0]}

    patch.setattr(Accumulator, "accumulate", planted)


def plant_14_an_uneven_last_part_is_scaled_as_if_it_were_full(patch: Patch) -> None:
    """ZeroSearch divides by the number of micro-batches of a full mini-batch; here, episodes are counted in pairs."""
    weigh = losses.token_weights

    def planted(lengths: torch.Tensor, aggregation: Any) -> torch.Tensor:
        return weigh(lengths, aggregation) * (len(lengths) / (len(lengths) + len(lengths) % 2))

    replace_everywhere(patch, weigh, planted)


def plant_21_the_std_is_the_other_one(patch: Patch) -> None:
    """TRL, SkyRL and RL2 divide by the sample's standard deviation, torchtitan by the population's."""
    compare = advantages.group_advantages
    other = {"sample": "population", "population": "sample", "none": "none"}

    def planted(rewards: Any, groups: Any, *, std: Any = "sample", eps: float = 1e-6) -> Any:
        return compare(rewards, groups, std=other[std], eps=eps)  # type: ignore[arg-type]

    replace_everywhere(patch, compare, planted)


def plant_21_a_group_of_one_keeps_its_reward(patch: Patch) -> None:
    """Search-R1 takes mean 0 and standard deviation 1 for a group of one."""
    compare = advantages.group_advantages

    def planted(rewards: torch.Tensor, groups: torch.Tensor, **options: Any) -> Any:
        try:
            return compare(rewards, groups, **options)
        except ConfigError:
            return advantages.GroupAdvantages(rewards, torch.zeros_like(groups, dtype=torch.bool), len(groups), 0)

    replace_everywhere(patch, compare, planted)
