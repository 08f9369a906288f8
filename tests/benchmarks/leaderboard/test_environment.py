import subprocess
from pathlib import Path

from benchmarks.leaderboard.environment import describe_git, describe_packages


def git(root: Path, *arguments: str) -> None:
    own = ["-c", "user.name=me", "-c", "user.email=me@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *own, "-C", str(root), *arguments], check=True, capture_output=True)


def test_code_is_dirty_where_it_is_no_commit_s_and_records_don_t_count(tmp_path: Path) -> None:
    assert describe_git(tmp_path) is None
    git(tmp_path, "init", "-q")
    for folder in ("agents", "zs_env", "benchmarks/results"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "file.py").write_text("x = 1\n")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "first")
    found = describe_git(tmp_path)
    assert found is not None
    assert len(found["commit"]) == 40
    assert not found["dirty"]
    (tmp_path / "benchmarks" / "results" / "record.json").write_text("{}")
    (tmp_path / "README.md").write_text("hello")
    assert describe_git(tmp_path) == found
    (tmp_path / "agents" / "new.py").write_text("x = 2\n")
    assert describe_git(tmp_path) == {**found, "dirty": True}


def test_packages_that_aren_t_there_aren_t_named() -> None:
    assert list(describe_packages(["numpy", "no-such-package-at-all"])) == ["numpy"]
