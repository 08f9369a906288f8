"""Episodes laid end to end without padding, a prompt that several of them share computed once.

`layout` says which tokens see which, `attention` computes it, `batch` makes it of trajectories, and `support` finds out
by trying whether a model can be computed so.
"""

from agents.packed.batch import PackedBatch, pack, split_packed
from agents.packed.layout import PackedLayout, Segment

__all__ = ["PackedBatch", "PackedLayout", "Segment", "pack", "split_packed"]
