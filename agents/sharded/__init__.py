"""Learners that share the work: each has a part of the weights (FSDP2) and a share of each batch.

`shares` splits a batch, `group` is how the learners find each other, `modules` are the sharded policy and critic,
`passes` sums their gradients, `state` is what goes to disk, and `learner` is one of them. Nothing here knows who starts
the processes.
"""

from agents.sharded.group import connect_store, join, leave, make_store
from agents.sharded.learner import ShardedLearner, check_shardable
from agents.sharded.shares import Share, put_together, split

__all__ = [
    "ShardedLearner",
    "Share",
    "check_shardable",
    "connect_store",
    "join",
    "leave",
    "make_store",
    "put_together",
    "split",
]
