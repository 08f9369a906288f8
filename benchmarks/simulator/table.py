"""The table of simulators: prompted against fine-tuned, by size, beside a real engine. Of records alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.simulator.table_sources import Sources
from benchmarks.simulator.tables import share_text
from zs_env.intervals import difference_interval

__all__ = ["PAGE_HEAD", "render_table"]

PAGE_HEAD = """# Simulators by kind and size

This page is written by `python -m benchmarks simulator table RECORD … --page docs/simulator_table.md` from records;
nothing in it is typed in. What was measured here and what others published stand apart: they are figures of different
things, on different questions, and no row is ranked against another's.

**Measured here** are searches: each question is asked once for useful documents and once for noisy ones. *Separation*
is the share of useful searches that hold an answer less that of noisy ones: 1 tells the two apart without fail, 0 not
at all; its interval takes the two shares for independent. How the other figures are made,
[Simulators' quality](simulators.md) says. Rows on the same questions may be compared, those on others may not. Of
simulators that check their documents, what is delivered is counted.

**Gates** are the same figures of a fine-tuned simulator and of the prompted model that it was made of, asked the very
same held-out questions, both unchecked. The gain in separation has a paired interval.

**Published** figures are of a policy that was trained against each simulator: how often it then answers right.

"""

_KINDS = {"template": "template", "hostile": "hostile", "hybrid": "simulated and real"}
_COLUMNS = ("kind", "parameters", "size", "quantisation", "questions")
_FIGURES = (
    "useful: holds an answer",
    "noisy: free of one",
    "separation",
    "query similarity, noisy / useful",
    "documents that repeat",
)


def render_table(sources: Sources, published: Sequence[Mapping[str, Any]]) -> str:
    """Every part that there is something for, as Markdown."""
    parts = []
    if sources.records:
        rows = [_record_row(record) for record in sources.records]
        parts.append(_table("Measured here", ["", *_COLUMNS, *_FIGURES, "searches a second"], rows))
    if sources.gates:
        rows = [row for gate in sources.gates for row in _gate_rows(gate)]
        parts.append(
            _table(
                "Gates",
                ["", *_COLUMNS, *_FIGURES, "seconds a search: p50", "gain in separation over it", "verdict"],
                rows,
            )
        )
    if sources.trainings:
        parts.append(_trainings(sources.trainings))
    parts += [_published(table) for table in published]
    return "\n\n".join(parts)


def _record_row(record: Mapping[str, Any]) -> list[str]:
    figures = record["figures"].get("single_hop") or record["figures"]["all"]
    hops = "of one hop" if "single_hop" in record["figures"] else "of several hops"
    checked = any(figures["both"]["tries"]) and (record["engine"]["settings"] or {}).get("check") is not False
    useful, noisy = (figures[kind]["of_delivered"] if checked else figures[kind] for kind in ("useful", "noisy"))
    names = ", ".join(record["fingerprints"]["questions"])
    rate = record["searches_per_s"]
    return [
        record["name"],
        *_facts(_kind(record), record["engine"].get("simulator")),
        f"{figures['num_questions']} {hops} ({names})",
        _share(useful["holding"]),
        _share(noisy["free"]),
        _separation(useful["holding"], noisy["holding"]),
        _number(figures["similarity_ratio"]),
        _share(figures["both"]["repeated"]),
        "–" if rate is None else f"{rate:.3g}",
    ]


def _kind(record: Mapping[str, Any]) -> str:
    name, settings = record["engine"]["name"], record["engine"]["settings"]
    if settings is None:
        return _KINDS.get(name, "real engine")
    facts = record["engine"].get("simulator") or {}
    kind = _simulated(facts.get("tuned"), settings["mode"])
    return kind + (", checked" if settings["check"] is not False and not settings["compat"] else ", unchecked")


def _simulated(tuned: bool | None, mode: str) -> str:
    if tuned:
        return "fine-tuned"
    return "prompted" if mode == "prompt" else "short prompt" if tuned is None else "untuned, short prompt"


def _gate_rows(gate: Mapping[str, Any]) -> Iterator[list[str]]:
    questions = f"{gate['questions']['num_asked']} held out ({gate['questions']['source']})"
    if gate["questions"]["held_out"] is None:
        questions = f"{gate['questions']['num_asked']}, not seen whether held out ({gate['questions']['source']})"
    for role, one in gate["simulators"].items():
        figures = one["figures"]
        gain = gate["paired"].get(role)
        yield [
            one["title"],
            *_facts(f"{_simulated(one['tuned'], one['mode'])}, unchecked", one),
            questions,
            _share(figures["useful_holding"]),
            _share(figures["noisy_free"]),
            _number(figures["separation"]),
            _number(figures["similarity_ratio"]),
            _share(figures["repeated"]),
            _seconds(figures["details"]["both"]["latency_s"]),
            "" if gain is None else _number(gain["separation"]["gain"]),
            "" if role != "candidate" else "accepted" if gate["accepted"] else "**refused**",
        ]


def _seconds(latency: Mapping[str, float]) -> str:
    return f"{latency['p50']:.2g}" if latency else "–"


def _facts(kind: str, facts: Mapping[str, Any] | None) -> list[str]:
    facts = facts or {}
    parameters, size = facts.get("parameters"), facts.get("bytes")
    return [
        kind,
        "–" if parameters is None else _count(parameters),
        "–" if size is None else f"{size / 1e6:,.0f} MB",
        facts.get("quantisation") or "–",
    ]


def _count(parameters: int) -> str:
    """Examples.

    >>> _count(134_515_008), _count(7_615_616_512)
    ('135M', '7.6B')
    """
    return f"{parameters / 1e9:.1f}B" if parameters >= 1e9 else f"{parameters / 1e6:.0f}M"


def _separation(useful: Mapping[str, Any], noisy: Mapping[str, Any]) -> str:
    if useful["value"] is None or noisy["value"] is None:
        return "–"
    low, high = difference_interval(useful["hits"], useful["n"], noisy["hits"], noisy["n"])
    return f"{useful['value'] - noisy['value']:.2f} [{low:.2f}, {high:.2f}]"


def _share(figure: Mapping[str, Any]) -> str:
    return share_text(figure)


def _number(figure: Mapping[str, Any]) -> str:
    if figure["value"] is None:
        return "–"
    ends = ", ".join(f"{end:.2f}" for end in figure["ci"] or ())
    return f"{figure['value']:.2f}" + (f" [{ends}]" if ends else "")


def _trainings(trainings: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for name, summary in trainings.items():
        search, model = summary["settings"]["search"], summary["settings"]["model"]
        simulator = f" ({_last(search['simulation_llm'])})" if search["simulation_llm"] else ""
        for noise, after in summary["after"].items():
            before = summary["before"].get(noise)
            rows.append(
                [
                    name,
                    _last(model["source"]),
                    f"{search['mode']}{simulator}",
                    noise.removeprefix("noise_"),
                    str(after["n"]),
                    "–" if before is None else _exact_match(before),
                    _exact_match(after),
                ]
            )
    heads = [
        "training",
        "policy",
        "searches answered by",
        "chance of noise",
        "questions",
        "exact match before",
        "after",
    ]
    return _table("Short trainings", heads, rows)


def _last(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2]


def _exact_match(figures: Mapping[str, Any]) -> str:
    low, high = figures["em_greedy_ci"]
    return f"{100 * figures['em_greedy']:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def _published(table: Mapping[str, Any]) -> str:
    rows = [
        [row["name"], row["kind"], row.get("size", "–"), *(f"{value:.2f}" for value in row["values"])]
        for row in table["row"]
    ]
    told = _table(f"Published, not measured here. {table['title']}", ["", "kind", "size", *table["columns"]], rows)
    source = f"[{table['source']}]({table['link']})"
    also = f"; {table['also']}" if "also" in table else ""
    return f"{told}\n\nPolicy {table['policy']}, {table['measure']}. {table['note']} Source: {source}{also}."


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"## {title}", "", "| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in rows)])
