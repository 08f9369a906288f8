"""A process that runs commands one after the other, with a hub of its own: huggingface_hub reads it when imported."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

_CODE = """
import contextlib, io, json, sys
from zs_env.__main__ import main
from zs_env.errors import ZeroSearchError
from zs_env.questions import load_questions

def run(call):
    if isinstance(call, list):
        return main(call)
    try:
        found = load_questions(**call)
    except ZeroSearchError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    print(json.dumps([found.name, found.split, found.fingerprint, [question.id for question in found]]))

for line in sys.stdin:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run(json.loads(line))
    print(json.dumps([status or 0, out.getvalue(), err.getvalue()]), flush=True)
"""


class Answer(NamedTuple):
    """How a command ended, and what it wrote."""

    status: int
    out: str
    err: str


class Asking:
    """The process; a context manager."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)

    def __enter__(self) -> Asking:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CODE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self._environment,
            text=True,
            encoding="utf-8",
        )
        return self

    def __exit__(self, *exception: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()

    def _ask(self, call: Any) -> Answer:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(call) + "\n")
        self._process.stdin.flush()
        return Answer(*json.loads(self._process.stdout.readline()))

    def prepare(self, *arguments: object) -> Answer:
        """Run `python -m zs_env questions prepare`."""
        return self._ask(["questions", "prepare", *map(str, arguments)])

    def load(self, source: str, split: str | None = None) -> Answer:
        """Run `load_questions`; writes its name, split, fingerprint and ids as JSON."""
        return self._ask({"source": source, "split": split})
