"""What names, dates, places and nationalities look like in English text: pieces of regular expressions."""

from __future__ import annotations

import re

__all__ = ["DATE", "DEMONYMS", "NAME", "NAMES", "PLACE", "UPPER", "YEAR", "names_in"]

UPPER = "".join(
    char for code in (*range(0x41, 0x250), *range(0x1E00, 0x1F00)) if (char := chr(code)).isupper() and char.isalpha()
)
"""Capital letters of Latin script."""

_PARTICLE = "(?:of the|of|de la|de|del|von|van der|van|der|den|du|da|di|la|le|al|el|bin|ibn|dos|af|zu|ap|ab|y|the)"
_WORD = rf"(?:(?:[{UPPER}]\. ?)*(?:(?:Jr|Sr|St|Dr|Mt)\.|[{UPPER}][\w’'-]+)|[{UPPER}]\.|[IVX]+\b)"
_TITLE = (
    "(?:Duke|Earl|Countess|Count|Baronet|Baron|Viscount|Marquess|Margrave|Princess|Prince|Lord|Elector|Landgrave|"
    "Duchess|Queen|King)"
)
_WORDS = rf"{_WORD}(?: (?:{_PARTICLE} )?{_WORD})*"
NAME = rf"{_WORDS}(?:, (?:\d+(?:st|nd|rd|th) )?{_TITLE}\b(?: (?:{_PARTICLE} )?{_WORD})*)?"
NAMES = rf"{NAME}(?:(?:, (?:and )?| and | & ){NAME})*"

_MONTH = "(?:January|February|March|April|May|June|July|August|September|October|November|December)"
YEAR = r"(?:1\d{3}|20\d{2})"
DATE = (
    rf"(?:\d{{1,2}} {_MONTH},? \d{{3,4}}|{_MONTH} \d{{1,2}},? \d{{3,4}}|{_MONTH},? \d{{3,4}}|{YEAR}(?![\ds])|"
    r"[1-9]\d{2}(?= ?[–)-]))"
)

PLACE = rf"(?:the )?{_WORD}(?: (?:{_PARTICLE} )?{_WORD}|(?:-sur-|-upon-){_WORD})*(?:, (?:the )?{_WORDS})*"

_NATIONALITIES = (
    "Afghan Albanian Algerian American Angolan Argentine Argentinian Armenian Australian Austrian Azerbaijani "
    "Bahraini Bangladeshi Belarusian Belgian Beninese Bolivian Bosnian Brazilian British Bulgarian Burmese "
    "Cambodian Cameroonian Canadian Chadian Chilean Chinese Colombian Congolese Croatian Cuban Cypriot Czech "
    "Czechoslovak Danish Dominican Dutch Ecuadorian Egyptian Emirati English Estonian Ethiopian Fijian Filipino "
    "Finnish French Gabonese Georgian German Ghanaian Greek Guatemalan Haitian Honduran Hungarian Icelandic "
    "Indian Indonesian Iranian Iraqi Irish Israeli Italian Ivorian Jamaican Japanese Jordanian Kazakhstani Kenyan "
    "Korean Kuwaiti Latvian Lebanese Liberian Libyan Lithuanian Macedonian Malaysian Maltese Mexican Moldovan "
    "Mongolian Montenegrin Moroccan Namibian Nepalese New_Zealand Nicaraguan Nigerian Norwegian Omani Pakistani "
    "Palestinian Panamanian Paraguayan Persian Peruvian Polish Portuguese Qatari Romanian Russian Rwandan "
    "Salvadoran Saudi Scottish Senegalese Serbian Singaporean Slovak Slovene Slovenian Somali South_African "
    "South_Korean Soviet Spanish Sudanese Swedish Swiss Syrian Taiwanese Tanzanian Thai Tunisian Turkish Ugandan "
    "Ukrainian Uruguayan Uzbekistani Venezuelan Vietnamese Welsh Yugoslav Zambian Zimbabwean"
)
DEMONYMS = f"(?:{'|'.join(sorted(_NATIONALITIES.split(), key=len, reverse=True)).replace('_', ' ')})"


def names_in(text: str) -> list[str]:
    """The names of a list: "A, B and C".

    Examples:
        >>> names_in("Mohan Kumar, J. Om Prakash and Rajinder Singh Bedi")
        ['Mohan Kumar', 'J. Om Prakash', 'Rajinder Singh Bedi']
    """
    parts = re.split(r", and |, (?!Jr\b|Sr\b|\d+(?:st|nd|rd|th)\b)| and | & ", text)
    return [part.strip() for part in parts if part.strip()]
