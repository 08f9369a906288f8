"""Policies that play and learn in `zs_env`, by reinforcement learning on their own tokens.

Where to begin reading: `grpo` is the algorithm from top to bottom; `rollout` and `conversation` play episodes;
`trajectory` is what an episode leaves; `samplers` write tokens; `advantages` and `losses` are pure functions of
tensors; `learner` changes weights; `executors` say where all that runs; `evaluate` measures; `train` and `cli` tie it
together.

Importing this package imports nothing else.
"""
