"""What is shipped: a wheel of `zs_env` alone, which works where there is no checkout."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import zs_env

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "zs_env", "pyproject.toml", "README.md", "LICENSE"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    for name in listed:
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, source],
        check=True,
        capture_output=True,
    )
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_zs_env_alone_with_its_data_and_licences(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"zs_env"}
    assert "zs_env/py.typed" in names
    assert any(name.startswith("zs_env/questions/data/atlas.") for name in names)
    assert "zs_env/engines/llm/prompts/prompt_noisy.txt" in names
    assert "zs_env/tuning/prompts/judge.txt" in names
    licences = {name.rsplit("/", 1)[1] for name in names if "/licenses/" in name}
    assert licences == {"LICENSE", "ATTRIBUTION.md"}


def test_the_wheel_works_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = """
import sys; sys.path[:] = [p for p in sys.path if not p.endswith(ROOT)]; sys.path.insert(0, SITE)
import gymnasium, zs_env
assert zs_env.__file__.startswith(SITE), zs_env.__file__
env = gymnasium.make("ZeroSearch-v0", split="test")
text, info = env.reset(seed=0)
text, *_ = env.step(f"<search>{info['question']}</search>")
assert "Doc 5:" in text
assert "torch" not in sys.modules
"""
    code = code.replace("SITE", repr(str(tmp_path / "site"))).replace("ROOT", repr(ROOT.name))
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_versions_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == zs_env.__version__
    assert f"version: {zs_env.__version__}" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
