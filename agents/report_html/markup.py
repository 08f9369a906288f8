"""Text and numbers as HTML. Whatever comes from a file is hostile until it has been through `text`."""

from __future__ import annotations

import html
import json
import math
import re
from typing import Any

__all__ = ["clip", "exact_number", "number", "plain", "setting", "short_number", "text"]

# What a page must not hold (surrogates, control characters), or what would let a text reorder the page around it.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)


def _visible(found: re.Match[str]) -> str:
    return f"⟨U+{ord(found.group()):04X}⟩"


def plain(value: Any) -> str:
    r"""A value as text without anything that a page can't hold; unprintable characters are spelled out.

    Examples:
        >>> plain("a\x00b\ud800")
        'a⟨U+0000⟩b⟨U+D800⟩'
    """
    return _UNPRINTABLE.sub(_visible, value if isinstance(value, str) else str(value))


def text(value: Any) -> str:
    """A value as HTML text, safe between tags and in a quoted attribute.

    Examples:
        >>> text('<b onclick="x">')
        '&lt;b onclick=&quot;x&quot;&gt;'
    """
    # A colon in a scheme is spelled as a reference, so that the page's source shows no address and nothing looks
    # like one.
    return html.escape(plain(value)).replace("://", "&#58;//")


def clip(value: Any, most: int) -> tuple[str, int]:
    """The beginning of a text.

    Args:
        value: The text.
        most: How many characters to keep.

    Returns:
        What is kept, and how many characters were left out.
    """
    whole = value if isinstance(value, str) else str(value)
    return whole[:most], max(len(whole) - most, 0)


def number(value: Any, digits: int = 3) -> str:
    """A number with so many digits after the point; "–" for nothing, and text for what is no number.

    Examples:
        >>> number(0.12345), number(None), number(12)
        ('0.123', '–', '12')
    """
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return text(clip(value, 40)[0])
    if isinstance(value, int):
        return f"{value:,}" if abs(value) < 10**15 else short_number(value)
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite" if value > 0 else "−infinite"
    if abs(value) >= 1e9:
        return short_number(value)
    return f"{value:,.{digits}f}".replace("-", "−")


def short_number(value: float, digits: int = 4) -> str:
    """A finite number in few characters, with so many digits that count.

    Examples:
        >>> short_number(0.00004), short_number(1500), short_number(-0.25), short_number(2e6)
        ('4e−5', '1.5k', '−0.25', '2M')
    """
    try:
        value = float(value)
    except OverflowError:
        return "huge"
    size = abs(value)
    for bound, unit in ((1e9, ""), (1e6, "M"), (1e3, "k")):
        if size >= bound:
            shown = f"{value:.{digits}g}" if not unit else f"{value / bound:.{digits}g}{unit}"
            break
    else:
        shown = f"{value:.{digits}g}"
    mantissa, mark, exponent = shown.partition("e")
    return (f"{mantissa}e{int(exponent)}" if mark else shown).replace("-", "−")


def exact_number(value: float) -> str:
    """A number as it is read out: four digits that count, NaN and infinities by name.

    Examples:
        >>> exact_number(0.123456), exact_number(float("nan")), exact_number(12345.678)
        ('0.1235', 'NaN', '12,346')
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if 1000 <= abs(value) < 1e9:
        return f"{value:,.0f}".replace("-", "−")
    return short_number(value)


def setting(value: Any, most: int = 2000) -> str:
    """A setting's value, as JSON unless it is text; a long one scrolls, and one that is longer still is cut."""
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    kept, left_out = clip(shown, most)
    whole = text(kept) + (f" … ({left_out:,} more characters)" if left_out else "")
    return whole if len(kept) < 300 else f'<div class="long" tabindex="0">{whole}</div>'
