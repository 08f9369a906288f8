"""Divide the atlas's countries into splits, and choose the questions of each (a part of `build_atlas`).

Countries are divided, and a city goes with its country. Countries stay together that share a capital's name, a calling
code or an internet domain, whose names (or currencies' names) contain one another's as whole phrases, as Guinea and
Guinea-Bissau do, or that `build_tables` lists as easily confused. So what two splits can share are the answers of three
closed classes: currencies, languages and continents.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

from zs_env.questions.atlas_text import DOCUMENTS, SINGLE_HOP, TWO_HOP, fold
from zs_env.questions.build_tables import LOOK_ALIKES
from zs_env.rewards import normalize_answer

__all__ = ["SHARES", "ChosenQuestion", "City", "Country", "choose_questions", "phrases_in", "split_countries"]

SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}
MAX_CITY_QUESTIONS = 18  # single-hop, of a country
MAX_TWO_HOP = 40  # of a country
TWO_HOP_SHARE = 0.6
NUM_PHRASINGS = 3


class Country(NamedTuple):
    """A country or territory with its facts: relation to accepted answers, best first."""

    code: str
    name: str
    aliases: tuple[str, ...]
    facts: Mapping[str, tuple[str, ...]]


class City(NamedTuple):
    """A city whose name means nothing else."""

    name: str
    country: Country
    aliases: tuple[str, ...]


class ChosenQuestion(NamedTuple):
    """A question to ask: two hops if a city is asked for anything but its country."""

    entity: str
    relation: str
    phrasing: int


def phrases_in(folded: str) -> set[str]:
    """Every run of whole words of a folded name."""
    words = folded.split()
    return {" ".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1)}


def split_countries(countries: Sequence[Country], cities: Sequence[City]) -> dict[str, str]:
    """Give every country code a split: connected ones together, the questions shared out as SHARES says, or nearly."""
    num_cities = Counter(city.country.code for city in cities)
    groups: dict[str, list[str]] = defaultdict(list)
    for code, root in _connect(countries).items():
        groups[root].append(code)
    sizes = {root: sum(5 + 2 * num_cities[code] for code in codes) for root, codes in groups.items()}
    filled = dict.fromkeys(SHARES, 0.0)
    splits: dict[str, str] = {}
    # Large groups first, else the last of them could overfill a small split; like sizes in a fixed random order.
    for root in sorted(groups, key=lambda root: (-(sizes[root] // 30), _order("split", root))):
        split = min(SHARES, key=lambda name: filled[name] / SHARES[name])
        filled[split] += sizes[root]
        splits.update(dict.fromkeys(groups[root], split))
    return splits


def _connect(countries: Sequence[Country]) -> dict[str, str]:
    """Union-find over the reasons to stay together: country code to the code that stands for its group."""
    parent = {country.code: country.code for country in countries}

    def find(code: str) -> str:
        while parent[code] != code:
            code = parent[code]
        return code

    shared: dict[tuple[str, str], str] = {}
    names = {fold(name): country.code for country in countries for name in (country.name, *country.aliases)}
    for country in countries:
        for relation in ("capital", "calling_code", "domain"):
            for answer in country.facts.get(relation, ()):
                parent[find(country.code)] = find(shared.setdefault((relation, fold(answer)), country.code))
        said = [country.name, *country.aliases, *(answer for answers in country.facts.values() for answer in answers)]
        for name in said:
            for phrase in phrases_in(fold(name)) & names.keys():
                parent[find(country.code)] = find(names[phrase])
    for first, second in LOOK_ALIKES:
        parent[find(first)] = find(second)
    return {code: find(code) for code in parent}


def choose_questions(
    split: str, countries: Sequence[Country], cities: Sequence[City], splits: Mapping[str, str]
) -> list[ChosenQuestion]:
    """Choose a split's questions, in their final order: 40 % of one hop, 60 % of two, no country with too many."""
    of_country: dict[str, list[City]] = defaultdict(list)
    for city in cities:
        of_country[city.country.code].append(city)
    single: list[tuple[str, str]] = []
    double: list[tuple[str, str]] = []
    for country in countries:
        if splits[country.code] != split:
            continue
        names = (country.name, *country.aliases)
        facts = country.facts.items()
        single += [(country.name, r) for r, answers in facts if _is_fair(SINGLE_HOP[r], country.name, answers)]
        own = [city for city in of_country[country.code] if _is_fair(SINGLE_HOP["country"], city.name, names)]
        single += [(city.name, "country") for city in own[:MAX_CITY_QUESTIONS]]
        pairs = [
            (city.name, relation)
            for city in own
            for relation, answers in facts
            if _is_fair(TWO_HOP[relation], city.name, answers)
            and _is_fair(DOCUMENTS["country"], city.name, answers, country.name)
        ]
        double += _spread(pairs, MAX_TWO_HOP)
    num_double = min(len(double), round(len(single) * TWO_HOP_SHARE / (1 - TWO_HOP_SHARE)))
    num_single = min(len(single), round(num_double * (1 - TWO_HOP_SHARE) / TWO_HOP_SHARE))
    chosen = [*_thin(single, num_single), *_thin(double, num_double)]
    return [
        ChosenQuestion(entity, relation, _order("phrasing", entity, relation)[0] % NUM_PHRASINGS)
        for entity, relation in sorted(chosen, key=lambda pair: _order("order", *pair))
    ]


def _order(*key: str) -> bytes:
    """A sort key that looks random and never changes."""
    return hashlib.sha256("\x1f".join(key).encode()).digest()


def _spread(pairs: Sequence[tuple[str, str]], limit: int) -> list[tuple[str, str]]:
    """Take up to `limit` pairs, relations and cities as evenly as possible."""
    rest = sorted(pairs, key=lambda pair: _order("pair", *pair))
    taken: list[tuple[str, str]] = []
    uses: Counter[str] = Counter()
    while rest and len(taken) < limit:
        best = min(rest, key=lambda pair: (uses[pair[0]], uses[pair[1]]))
        rest.remove(best)
        taken.append(best)
        uses.update(best)
    return taken


def _thin(pairs: Sequence[tuple[str, str]], size: int) -> list[tuple[str, str]]:
    return sorted(pairs, key=lambda pair: _order("thin", *pair))[:size]


def _is_fair(templates: Sequence[str], entity: str, golden_answers: Sequence[str], answer: str = "") -> bool:
    """Whether none of the texts holds a golden answer, be it with other accents or hyphens."""
    texts = [_forms(template.format(entity=entity, answer=answer)) for template in templates]
    return not any(
        form in text_form
        for golden in golden_answers
        for text in texts
        for form, text_form in zip(_forms(golden), text, strict=True)
    )


@cache
def _forms(text: str) -> tuple[str, str]:
    """A text as answers are compared, and as names are, with spaces around it: only whole words are found in it."""
    return f" {normalize_answer(text)} ", f" {fold(text)} "
