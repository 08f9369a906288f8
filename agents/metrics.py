"""The numbers that a training step logs, each defined once."""

from __future__ import annotations

from agents.rollout import RolloutResult

__all__ = ["METRICS", "rollout_metrics"]

METRICS: dict[str, str] = {
    "reward_mean": "mean reward of the step's episodes, failed ones left out",
    "exact_match": "share of these episodes whose answer matches a golden answer exactly",
    "f1": "mean token F1 of the answers of these episodes",
    "answered_share": "share of these episodes that ended with an answer",
    "out_of_turns_share": "share of these episodes that took all their turns without an answer",
    "out_of_tokens_share": "share of these episodes that ended because the token budget was used up",
    "searches_per_episode": "mean number of searches carried out",
    "turns_per_episode": "mean number of actions, invalid ones included",
    "invalid_share": "share of all actions that were neither a search nor an answer",
    "noise_probability": "mean chance that a search asked for noisy documents",
    "noisy_share": "share of the searches carried out that did ask for noisy documents",
    "supports_query_share": "share of the searches whose documents held what the query asked, where the engine knows",
    "policy_tokens": "mean number of tokens that the policy wrote in an episode",
    "episode_tokens": "mean number of tokens of an episode in all",
    "num_failed": "episodes that failed for reasons that aren't the policy's; they are in none of the other numbers",
    "zero_variance_share": "share of the groups whose rewards are all equal, which teach nothing",
    "num_sampling_rounds": "rounds that the episodes were played in; only with dynamic sampling, as the next one",
    "num_episodes": "episodes that were played in all these rounds, failed ones included",
    "overlong_penalty": "mean of what length takes off the reward that is learned from; only with `overlong_tokens`",
    "num_examples": "episodes that were learned from",
    "num_updates": "optimizer steps taken",
    "learning_rate": "learning rate of the step",
    "loss": "the loss that was minimised, mean over the optimizer steps",
    "grad_norm": "length of the gradient before clipping",
    "entropy": "mean entropy of the learner's distribution at the tokens learned from, in nats",
    "kl": "mean estimate of the policy's KL to the reference at these tokens, in nats; only with a KL penalty",
    "clip_fraction": "share of these tokens whose gradient the clip took away",
    "value_loss": "the critic's loss, mean over its optimizer steps; only with a critic, as all of these",
    "value_grad_norm": "length of the critic's gradient before clipping",
    "value_clip_fraction": "share of the tokens learned from whose value's gradient the value clip took away",
    "value_mean": "mean value that the critic gave these tokens before the step's updates",
    "return_mean": "mean of what it should have given",
    "explained_variance": "share of these targets' variance that its values account for: at most 1; 0 if all are equal",
    "critic_learning_rate": "the critic's learning rate of the step",
    "ratio_mean": "mean of probability now / probability when sampled, at these tokens; see `importance`",
    "ratio_max": "the largest such ratio",
    "logprob_difference": "mean absolute difference of learner's and sampler's log-probs, before the first update",
    "sampler_mismatch_mean": "mean absolute difference of the log-probs recomputed before the first update and the "
    'sampler\'s; only with `old_logprobs = "recomputed"`, as the next three',
    "sampler_mismatch_max": "the largest such difference",
    "sampler_kl": "estimate (k3) of KL(sampler, learner) by the weights that sampled, in nats a token",
    "importance_capped_share": "share of the tokens whose correction `importance_cap` cut",
    "rollout_s": "seconds for playing the episodes",
    "generate_s": "seconds in which the sampler was at work",
    "search_s": "seconds in which nothing but searches was under way",
    "update_s": "seconds for advantages, reference log-probs and updates",
    "step_s": "seconds of the whole step",
    "staleness": "training steps between the weights that wrote an episode and those that learn from it, on average",
}
"""Name of each metric to its definition; the documentation's table is made from this."""


def rollout_metrics(result: RolloutResult) -> dict[str, float]:
    """What a rollout says about the policy, by `METRICS`' definitions."""
    played = [trajectory for trajectory in result.trajectories if not trajectory.failed]
    searches = [search for trajectory in played for search in trajectory.searches]
    known = [search.supports_query for search in searches if search.supports_query is not None]
    actions = [action for trajectory in played for action in trajectory.actions]

    def mean(values: list[float] | list[int] | list[bool]) -> float:
        return sum(values) / len(values) if values else 0.0

    metrics = {
        "reward_mean": mean([trajectory.reward for trajectory in played]),
        "exact_match": mean([trajectory.exact_match for trajectory in played]),
        "f1": mean([trajectory.f1 for trajectory in played]),
        "searches_per_episode": mean([trajectory.num_searches for trajectory in played]),
        "turns_per_episode": mean([len(trajectory.actions) for trajectory in played]),
        "invalid_share": mean([action == "invalid" for action in actions]),
        "noise_probability": mean([trajectory.noise_probability for trajectory in played]),
        "noisy_share": mean([search.quality == "noisy" for search in searches]),
        "policy_tokens": mean([trajectory.num_policy_tokens for trajectory in played]),
        "episode_tokens": mean([trajectory.num_tokens for trajectory in played]),
        "num_failed": float(result.num_failed),
        "generate_s": result.generate_s,
        "search_s": result.search_s,
    }
    for status in ("answered", "out_of_turns", "out_of_tokens"):
        metrics[f"{status}_share"] = mean([trajectory.status == status for trajectory in played])
    if known:
        metrics["supports_query_share"] = mean(known)
    return metrics
