"""The published page and picture, of records alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.simulator.picture import draw
from benchmarks.simulator.tables import render
from zs_env.files import write_text

__all__ = ["write_page"]

_HEAD = """# What a simulator's searches are worth

This page is written by `python -m benchmarks simulator report RECORD … --page docs/simulators.md` from the records in
`benchmarks/results/simulator/`; nothing in it is typed in. Each record says by which command it was measured.

**What is asked.** Each question is searched for twice, with the same query: once for useful documents, once for noisy
ones. The query is the question itself; of a question that takes several searches, the names in it (`--queries`).

**What is counted.** A search *holds an answer* if one of its documents does, in whatever form: case, accents, articles,
numbers in words, dates in any order. That is told by a matcher of its own, which shares no code with the check that a
simulated engine makes of itself; beside it stands DPR's rule, which is literal. Questions whose answer is yes or no, or
stands in the question, can't be told and are left out of these shares; each share says of how many it is one. A
*telling word* of an answer is one such as a surname.

A search is *delivered* if it didn't fail and the engine doesn't itself say that its documents aren't what was asked
for. An engine that doesn't check delivers whatever it writes. The bars are on delivered searches; the same of all
searches that didn't fail stands beside them. Questions of several hops have no bars: the answer of such a question has
no place in the useful documents of a first search.

*Query similarity* is the cosine of the query's and a document's words, weighted by how rare they are in the run (and,
where `wordllama` is installed, of their embeddings): noise must stay on the topic. It can be had by saying back the
query, so that is counted too. A document *repeats* another if four fifths of all runs of three words that either has
are in both; it *copies* if eight words in a row stand in the engine's prompt.

Intervals of 95 %: Wilson's for shares of searches; for shares of documents, ratios and means, a bootstrap over
questions. Seconds are what a caller waits at the concurrency said, on a machine that others may have used too.

To measure one of your own, on your own questions, and to see it beside these:

```console
python -m benchmarks simulator --engine simulate_prompt --base-url http://127.0.0.1:6001/v1 \\
    --questions questions.jsonl --limit 200 --max-tries 5 --out runs/quality --name mine
python -m benchmarks simulator report runs/quality/record.json benchmarks/results/simulator
```

With `--out`, every search is kept as it comes, and a run that was stopped goes on; the file is one that
[`ReplayEngine`](engines.md) can answer from. `--bars` ends with status 1 if a bar is missed.

![The figures that have a bar: a dot with its interval, a ring for all searches, the bar dashed]({picture})

"""


def write_page(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """The tables as a page, with the picture of the same name beside it."""
    picture = path.with_suffix(".svg")
    write_text(picture, draw(records))
    write_text(path, _HEAD.format(picture=picture.name) + render(records) + "\n\n" + _sources(records) + "\n")


def _sources(records: Sequence[Mapping[str, Any]]) -> str:
    lines = ["## How it was measured", ""]
    for record in records:
        model = f", model {record['engine']['model']}" if record["engine"]["model"] else ""
        machine, engine = record["machine"], record["fingerprints"]["engine"] or "built in"
        lines += [
            f"- {record['name']}{model}: `{record['command']}`; engine {engine}, "
            f"version {record['version']}, {machine['cpus']} CPUs ({machine['architecture']}).",
        ]
    return "\n".join(lines)
