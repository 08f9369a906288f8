"""The state of a group's training in files, by `torch.distributed.checkpoint`: read again by any number of learners.

The format's index is a pickle, and unpickling may run code. So only the few types that an index consists of are read,
and nothing but tensors is taken from the files, which torch loads without running code.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from agents.errors import CheckpointError, first_line
from agents.optimization import TrainedParameters
from agents.sharded.modules import release

__all__ = ["Trained", "load_state", "save_state"]

_ADAMW = ("step", "exp_avg", "exp_avg_sq")
"""What AdamW keeps of a weight."""

_INDEX_TYPES = {
    "torch.distributed.checkpoint.filesystem": ("_StorageInfo", "_StoragePrefix"),
    "torch.distributed.checkpoint.metadata": (
        "BytesStorageMetadata",
        "ChunkStorageMetadata",
        "Metadata",
        "MetadataIndex",
        "StorageMeta",
        "TensorProperties",
        "TensorStorageMetadata",
        "_MEM_FORMAT_ENCODING",
    ),
    "torch.serialization": ("_get_layout",),
    "torch": ("Size", "bfloat16", "float16", "float32", "float64", "int64"),
    "collections": ("OrderedDict",),
    "pathlib": ("Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath"),
    "pathlib._local": ("Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath"),
}


class Trained(NamedTuple):
    """What is trained by an optimizer of its own.

    Attributes:
        module: Sharded.
        parameters: Of the module.
    """

    module: torch.nn.Module
    parameters: TrainedParameters

    def named(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """The shards of the weights that are trained, by name."""
        release(self.module)
        return ((name, one) for name, one in self.module.named_parameters() if one.requires_grad)


def save_state(folder: Path, trained: Mapping[str, Trained]) -> None:
    """Write weights that are trained, as the optimizer has them, and optimizers; all learners call it together.

    Args:
        folder: Made if it isn't there.
        trained: By name, such as "policy".

    Raises:
        CheckpointError: It can't be written.
    """
    try:
        save(_state(trained), storage_writer=FileSystemWriter(folder, sync_files=True))
    except (CheckpointException, OSError) as error:
        raise CheckpointError(f"The learners' state can't be written to {str(folder)!r}: {_first(error)}") from error


def load_state(folder: Path, trained: Mapping[str, Trained]) -> None:
    """Take back what `save_state` wrote, in place; all learners call it together.

    Raises:
        CheckpointError: It can't be read, or belongs to something else.
    """
    reader = _Reader(folder)
    try:
        known = reader.read_metadata().state_dict_metadata
    except Exception as error:  # unpickling raises many types
        raise CheckpointError(f"No learners' state can be read from {str(folder)!r}: {_first(error)}") from error
    wanted = _wanted(trained, known)
    wrong = sorted(wanted.keys() ^ known.keys())
    wrong += sorted(name for name in wanted.keys() & known.keys() if not _fits(known[name], wanted[name]))
    if wrong:
        raise CheckpointError(
            f"The learners' state in {str(folder)!r} is of another model or another algorithm: {len(wrong)} tensors "
            f"are missing, unknown or of another shape, for example {wrong[0]!r}."
        )
    for owner, one in trained.items():
        _make_room(owner, one, known)
    try:
        load(_state(trained), storage_reader=reader)
    except (CheckpointException, OSError) as error:
        raise CheckpointError(f"The learners' state can't be read from {str(folder)!r}: {_first(error)}") from error


def _state(trained: Mapping[str, Trained]) -> dict[str, Any]:
    """Name to tensor; the tensors are the live ones.

    torch's own `get_optimizer_state_dict` takes a step with an optimizer that has had none.
    """
    state: dict[str, Any] = {}
    for owner, one in trained.items():
        kept = one.parameters.optimizer.state
        for name, parameter in one.named():
            state[f"{owner}.{name}"] = parameter.detach()
            state |= {f"{owner}_optimizer.{name}.{key}": value for key, value in kept.get(parameter, {}).items()}
    return state


def _wanted(trained: Mapping[str, Trained], known: Mapping[str, Any]) -> dict[str, torch.Size]:
    """Name to shape of what the files should have; AdamW keeps nothing of a weight that has had no step."""
    wanted: dict[str, torch.Size] = {}
    for owner, one in trained.items():
        for name, parameter in one.named():
            wanted[f"{owner}.{name}"] = parameter.shape
            prefix = f"{owner}_optimizer.{name}."
            if any(f"{prefix}{key}" in known for key in _ADAMW):
                wanted |= {f"{prefix}{key}": torch.Size(()) if key == "step" else parameter.shape for key in _ADAMW}
    return wanted


def _make_room(owner: str, trained: Trained, known: Mapping[str, Any]) -> None:
    """Give AdamW the state that the files have: zeros, to be filled."""
    state = trained.parameters.optimizer.state
    for name, parameter in trained.named():
        prefix = f"{owner}_optimizer.{name}."
        state.pop(parameter, None)
        if f"{prefix}step" in known:
            state[parameter] = {
                "step": torch.zeros(()),
                "exp_avg": torch.zeros_like(parameter, requires_grad=False),
                "exp_avg_sq": torch.zeros_like(parameter, requires_grad=False),
            }


def _fits(known: Any, shape: torch.Size) -> bool:
    return isinstance(known, TensorStorageMetadata) and known.size == shape


def _first(error: BaseException) -> str:
    failures = getattr(error, "failures", None)
    if failures:
        error = next(iter(failures.values()))[0]
    return first_line(error)


class _Reader(FileSystemReader):
    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        with (Path(self.path) / ".metadata").open("rb") as file:
            metadata = _IndexUnpickler(file).load()
        if not isinstance(metadata, Metadata):
            raise pickle.UnpicklingError(f"the index is a {type(metadata).__name__}")
        if metadata.storage_meta is None:
            metadata.storage_meta = StorageMeta()
        metadata.storage_meta.load_id = self.load_id
        return metadata


class _IndexUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name not in _INDEX_TYPES.get(module, ()):
            raise pickle.UnpicklingError(f"its index names {module}.{name}, which no index is made of")
        return super().find_class(module, name)
