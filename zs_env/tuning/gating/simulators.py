"""The simulators that a gate asks: where their model is, and how each is made to play."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from zs_env.engines import make_engine
from zs_env.engines.llm.gguf import find_gguf
from zs_env.engines.llm.inprocess import is_in_process
from zs_env.engines.llm.prompts import load_prompts
from zs_env.errors import ConfigError
from zs_env.files import write_json, write_text
from zs_env.measuring.facts import model_facts
from zs_env.tuning.simulator_file import SIMULATOR_FILE, read_simulator, sidecar
from zs_env.types import SearchEngine

__all__ = ["Contender", "as_loadable", "is_address", "note_verdict", "playing_options", "weights_fingerprint"]

_PLAYING = ("persona", "style", "language", "document_words")
_SAMPLE_BYTES = 1 << 20

Mode = Literal["prompt", "sft"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A simulator that is asked.

    Attributes:
        role: "candidate", "reference", or what else stands beside them.
        mode: How it is asked: "sft" with the short prompt, "prompt" with the long one.
        model: "smollm2", a GGUF file, or a model's name on a server.
        base_url: Its server; None for a model in this process.
        options: What else its engine takes.
        file: Where its weights lie, if on this machine: a GGUF file or a folder.
        tuned: Whether it was tuned to play the search engine.
    """

    role: str
    mode: Mode
    model: str | None
    base_url: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    file: Path | None = None
    tuned: bool = False

    def make(self) -> SearchEngine:
        """Its engine, unchecked: what the model itself writes is to be judged, not what a check lets through."""
        given: dict[str, Any] = {"simulation_llm": self.model, "base_url": self.base_url, **self.options}
        given = {name: value for name, value in given.items() if value is not None}
        return make_engine(f"simulate_{self.mode}", check=False, **given)

    @property
    def title(self) -> str:
        """What tables call it."""
        name = Path(self.model).name if self.model else "a server's model"
        return f"{name}, {'tuned' if self.tuned else 'prompted' if self.mode == 'prompt' else 'untuned, short prompt'}"

    def facts(self) -> dict[str, Any]:
        """What is known of its model: size, and whether it was tuned."""
        size = {"parameters": None, "bytes": None, "quantisation": None}
        return {**(size if self.file is None else model_facts(self.file)), "tuned": self.tuned, "mode": self.mode}


def is_address(text: str) -> bool:
    """Whether a text is a server's address."""
    return text.startswith(("http://", "https://"))


def playing_options(simulator: Mapping[str, Any]) -> dict[str, Any]:
    """How a simulator is to play, by its `simulator.json`: what it learnt, and what another is to play like."""
    return {name: simulator[name] for name in _PLAYING if simulator.get(name) is not None}


def own_prompts(simulator: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The option that makes a simulator be asked with the prompts it learnt, if these aren't those that ship.

    Raises:
        ConfigError: They can't be used.
    """
    texts = simulator.get("prompts")
    shipped = load_prompts("sft")
    if not texts or dict(texts) == dict(shipped):
        return {}
    if not isinstance(texts, Mapping) or not set(texts) <= set(shipped):
        raise ConfigError(f"The prompts of {SIMULATOR_FILE} must be of {', '.join(shipped)}; got {texts!r:.100}.")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_text(folder / f"{name}.txt", text)
    load_prompts("sft", folder)
    return {"prompts": str(folder)}


def weights_fingerprint(model: Path) -> str:
    """A short hash of a model's weights: of each file's size, and of samples of it."""
    files = [model] if model.is_file() else sorted([*model.glob("*.safetensors"), *model.glob("*.gguf")])
    found = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        found.update(f"{file.name if model.is_dir() else ''}:{size}\n".encode())
        with file.open("rb") as stream:
            for start in {0, size // 3, 2 * size // 3, max(size - _SAMPLE_BYTES, 0)}:
                stream.seek(start)
                found.update(stream.read(_SAMPLE_BYTES))
    return found.hexdigest()[:16]


def as_loadable(model: str, out: Path, name: str) -> tuple[str, Path]:
    """A model that can be loaded in this process, and the file of its weights.

    A folder in Hugging Face's format is written as a GGUF file of 16 bits a number, which is kept in `out`.

    Args:
        model: "smollm2", a GGUF file, or a folder.
        out: Where to write it.
        name: What to call it there.

    Raises:
        ConfigError: There is no such model, or it can't be loaded here.
    """
    if is_in_process(model):
        return model, find_gguf(model)
    folder = Path(model).expanduser()
    if not folder.is_dir():
        raise ConfigError(
            f"There is no model {model!r}: give a folder that `tune train` wrote, a .gguf file, 'smollm2', or a "
            "server's address. Names on a hub aren't downloaded here."
        )
    if len(files := sorted(folder.glob("*.gguf"))) == 1:
        return str(files[0]), files[0]
    if not (folder / "config.json").is_file():
        raise ConfigError(f"{model!r} holds no model: there is no config.json in it, and {len(files)} .gguf files.")
    file, note = out / f"{name}.f16.gguf", out / f"{name}.f16.gguf.from"
    fingerprint = weights_fingerprint(folder)
    if not (file.is_file() and note.is_file() and note.read_text(encoding="utf-8") == fingerprint):
        try:
            write_gguf = importlib.import_module("zs_env.tuning.gguf_files").write_gguf
        except ImportError as error:
            raise ConfigError(
                f"{model!r} is a model in Hugging Face's format, which isn't run in this process ({error}). Export it "
                "to a GGUF file and give that as --model, or serve it (`python -m zs_env serve`) and give --base-url."
            ) from error
        note.unlink(missing_ok=True)
        write_gguf(folder, file, kind="f16")
        write_text(note, fingerprint)
    return str(file), file


def note_verdict(model: Path, verdict: Mapping[str, Any] | None) -> Path | None:
    """Say beside a simulator that a gate accepted it, or take back what one said.

    Args:
        model: Its folder, or its GGUF file.
        verdict: What to say; None if it was refused: nothing then says that it was accepted.

    Returns:
        The file that was written; None if there is none to write: it isn't a simulator that was made here.
    """
    file = model / SIMULATOR_FILE if model.is_dir() else sidecar(model)
    simulator = read_simulator(model) if file.is_file() else None
    if simulator is None or (verdict is None and "gate" not in simulator):
        return None
    rest = {name: value for name, value in simulator.items() if name != "gate"}
    write_json(file, rest if verdict is None else {**rest, "gate": json.loads(json.dumps(verdict))})
    return file
