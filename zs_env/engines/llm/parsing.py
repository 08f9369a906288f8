r"""Reads documents out of what a model wrote: a pure function of text that never raises.

Models are asked for `Doc 1: …` on lines of their own. What they write also has other words and marks (`[1]`, `1)`,
`**Document 1:**`, `文档1：`), a preamble, a closing remark, a thought, a code fence, JSON, everything on one line, a
second round after the last document, no numbers at all, nothing, or no end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from zs_env.actions import clean_text
from zs_env.types import Document

__all__ = ["ParsedReply", "parse_reply"]

MAX_CHARS = 100_000

_WORDS = (
    "document|documento|dokument|doc|documentation|passage|result|snippet|документ|belge|tài liệu|"
    "文档|文件|文書|文献|ドキュメント|문서|مستند|وثيقة|दस्तावेज़"
)
_MARKS = r"[*_#>`\s]{0,12}"
_TITLE = r"\(\s*[Tt]itle\s*:"
# "Doc 1: …", "**Document #2** - …", "Doc 3(Title: T) …"; on one line with others only where the number goes on.
_WORD_MARK = re.compile(
    rf"(?P<start>^{_MARKS}|(?<=[\s.!?*_]){_MARKS})[\[(]?(?P<word>{_WORDS})s?\.?\s{{0,2}}[#№]?\s{{0,2}}[\[(]?(?P<number>\d{{1,4}})[\])]?"
    rf"[*_`]{{0,3}}\s{{0,2}}(?:[:：.\-–—|)]+|(?={_TITLE})|(?<=\])|(?<=\]\s)|$)[*_`]{{0,3}}",
    re.IGNORECASE | re.MULTILINE,
)
# "[1] …", "1. …", "2) …", "**3.** …", "(4) …", at the start of a line
_NUMBER_MARK = re.compile(
    rf"^{_MARKS}(?:\[(?P<a>\d{{1,3}})\]|\((?P<b>\d{{1,3}})\)|(?P<c>\d{{1,3}})[.)：:、])[*_`]{{0,3}}(?=\s|$)[:.]?",
    re.MULTILINE,
)
# What the quick way of reading leaves to these patterns: other words of marks, and what begins another round.
_OTHER_MARKS = ("dok", "passage", "result", "snippet", "belge", "query", "output")
_UNUSUAL = re.compile(r"[<`*_#>\[\]\r\v\f\x1c-\x1f]")
# What a model says that refuses to write any documents.
_REFUSAL = re.compile(
    r"(?:(?:i['’]m|i am) )?(?:(?:very|really|so) )?(?:sorry,? (?:but|i|that|for)|afraid (?:i|that))\b|"
    r"i apologi[sz]e\b|my apologies\b|"
    r"(?:unfortunately, )?i (?:can['’]?t|cannot|can not|won['’]t|am unable to|am not able to) "
    r"(?:help|assist|generate|write|create|provide|produce|fulfil|comply|do)|as an ai\b",
    re.IGNORECASE,
)
_BULLET_MARK = re.compile(r"^[ \t]{0,4}[-*•–]\s", re.MULTILINE)
_THOUGHT = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.IGNORECASE)
_FENCE = re.compile(r"^[ \t]{0,8}```[\w-]{0,20}[ \t]{0,8}$", re.MULTILINE)
_LABEL = re.compile(r"^\s*(?:useful|noisy)?\s*output\s*:\s*", re.IGNORECASE)
_NEXT_ROUND = re.compile(r"^[*_#>\s]{0,8}(?:query|(?:useful|noisy) output)\s*[:：]", re.IGNORECASE | re.MULTILINE)
_CLOSING = re.compile(
    r"(?:let me know|please let|i hope|hope this|if you (?:need|want|would|have)|feel free|(?:please )?note\b|"
    r"these (?:\w+ )?(?:documents|results|passages)|(?:all|each) (?:of )?(?:these|the|document)|"
    r"is there anything|would you like|---)",
    re.IGNORECASE,
)
_TITLED = re.compile(rf"^\s*{_TITLE}\s*(?P<title>[^()]*(?:\([^()]*\)[^()]*)*)\)\s*[:.\-–—]?\s*")
_TITLE_LINE = re.compile(r"^\s*[*_]{0,2}[Tt]itle[*_]{0,2}\s*[:：][*_]{0,2}[ \t]*(?P<title>[^\n]*)\n")
_TEXT_LABEL = re.compile(r"^\s*[*_]{0,2}(?:text|content|snippet|summary)[*_]{0,2}\s*:[*_]{0,2}\s*", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?…。！？।][\"'”’»)\]*_]{0,3}(?=\s|$)|[。！？]")
_ENDED = re.compile(r"[.!?…。！？।][\"'”’»)\]*_]{0,3}\s*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedReply:
    """What a reply holds.

    Attributes:
        documents: Its documents, at most as many as were asked for, none empty and no two the same.
        num_found: How many it held before what is too much was left out, repetitions not counted.
        cut: Whether its last document lost its unfinished end, or was left out for having nothing else.
    """

    documents: tuple[Document, ...]
    num_found: int = 0
    cut: bool = False


def parse_reply(text: str, topk: int, *, cut: bool = False) -> ParsedReply:
    r"""Read a reply.

    Args:
        text: What the model wrote.
        topk: How many documents were asked for.
        cut: Whether the reply was cut off at the limit of tokens: an unfinished sentence at its end then goes.

    Examples:
        >>> reply = parse_reply("Sure! Here are two:\n**Doc 1:** Paris is old.\nDoc 2 (Title: Lyon): Lyon too.", 2)
        >>> [(document.title, document.text) for document in reply.documents]
        [(None, 'Paris is old.'), ('Lyon', 'Lyon too.')]
        >>> parse_reply("1. One.\n2. Two.\n3. And thr", 5, cut=True).num_found
        2
    """
    plain = clean_text(text[:MAX_CHARS]).replace("\x00", " ").strip()
    pieces = _plain_lines(plain)
    found = None
    if pieces is None:
        plain = _FENCE.sub("", _THOUGHT.sub("", plain)).strip()
        found = _from_json(plain)
    was_cut = False
    if found is None:
        if pieces is None:
            pieces = list(_split(_LABEL.sub("", plain)))
        if cut and pieces and not _ENDED.search(pieces[-1]):
            was_cut = True
            pieces[-1] = _whole_sentences(pieces[-1])
        found = [_as_document(piece) for piece in pieces]
    unique: dict[str, Document] = {}
    for document in found:
        if any(map(str.isalnum, document.text)):
            unique.setdefault(document.text.casefold(), document)
    return ParsedReply(documents=tuple(unique.values())[:topk], num_found=len(unique), cut=was_cut)


def _plain_lines(text: str) -> list[str] | None:
    """The texts of documents in the form that is asked for, each on a line after "Doc" and its number.

    None for any other form, and where a text might hold a mark: the patterns then decide, as they would here.
    """
    if not text.startswith("Doc 1: ") or not text.isascii() or _UNUSUAL.search(text):
        return None
    pieces = []
    for number, line in enumerate(text.split("\n"), 1):
        mark = f"Doc {number}: "
        if not line.startswith(mark) or not line[len(mark) :].strip():
            return None
        pieces.append(line[len(mark) :] + "\n")
    lower = text.lower()
    if lower.count("doc") > len(pieces) or any(word in lower for word in _OTHER_MARKS):
        return None
    pieces[-1] = pieces[-1][:-1]
    return pieces


def _split(text: str) -> Iterator[str]:
    """The texts of a reply's documents, in order, marks left out."""
    marks, end = _first_round(_word_marks(text), len(text))
    if not marks:
        marks, end = _first_round(_number_marks(text), len(text))
        if len(marks) == 1 and text[: marks[0].start()].strip() and not _is_preamble(text[: marks[0].start()]):
            marks = []
    if not marks:
        bullets = list(_BULLET_MARK.finditer(text))
        marks = bullets if len(bullets) > 1 else []
    if not marks:
        yield from _paragraphs(text)
        return
    for mark, until in zip(marks, [*(mark.start() for mark in marks[1:]), end], strict=True):
        piece = text[mark.end() : until]
        this = _this_round(piece)
        if this != piece and not this.strip() and until < end:  # the model says back the query, and then goes on
            continue
        yield this if until < end else _without_closing(this)
        if this != piece:  # the model went on with another query
            return


def _word_marks(text: str) -> Iterator[tuple[int, re.Match[str], bool]]:
    """Marks with a word: the number, the mark, and whether it begins a line. Inside of one, another word is text."""
    word = None
    for mark in _WORD_MARK.finditer(text):
        begins = mark.start() == 0 or text[mark.start() - 1] == "\n" or "\n" in mark["start"]
        if begins or word in (None, mark["word"].casefold()):
            word = mark["word"].casefold()
            yield int(mark["number"]), mark, begins


def _number_marks(text: str) -> Iterator[tuple[int, re.Match[str], bool]]:
    """Marks with a number alone. One far from the last is a number in a text, such as a year."""
    last = 0
    for mark in _NUMBER_MARK.finditer(text):
        number = int(mark["a"] or mark["b"] or mark["c"])
        if number <= last + 3:
            last = max(number, last)
            yield number, mark, True


def _first_round(marks: Iterator[tuple[int, re.Match[str], bool]], end: int) -> tuple[list[re.Match[str]], int]:
    """Marks that go on counting (inside a line: by one), and where counting starts again, which ends the text."""
    kept: list[re.Match[str]] = []
    last = 0
    for number, mark, begins_line in marks:
        if number == last + 1 or (begins_line and number >= max(last, 1)):
            last = number
            kept.append(mark)
        elif begins_line and number == 1 and last > 1:
            return kept, mark.start()
    return kept, end


def _is_preamble(text: str) -> bool:
    return text.rstrip().endswith((":", "：", ":**"))


def _this_round(piece: str) -> str:
    """The last document, without a second round that the model went on with."""
    following = _NEXT_ROUND.search(piece)
    return piece[: following.start()] if following else piece


def _without_closing(piece: str) -> str:
    """The last document, without a closing remark that stands in a paragraph of its own."""
    paragraphs = re.split(r"\n\s*\n", piece)
    while len(paragraphs) > 1 and _CLOSING.match(paragraphs[-1].lstrip("*_#>- \t\n")):
        paragraphs.pop()
    return "\n\n".join(paragraphs)


def _paragraphs(text: str) -> list[str]:
    """Documents without marks: paragraphs where there are several, else lines."""
    text = _this_round(text)
    parts = [part for part in re.split(r"\n\s*\n", text) if part.strip()]
    if len(parts) == 1:
        parts = [line for line in text.splitlines() if line.strip()]
    if len(parts) > 1 and _is_preamble(parts[0]):
        parts = parts[1:]
    if parts and _REFUSAL.match(parts[0].lstrip()):
        return []
    while len(parts) > 1 and _CLOSING.match(parts[-1].lstrip("*_#>- \t\n")):
        parts.pop()
    return parts


def _whole_sentences(piece: str) -> str:
    """What stands before an unfinished sentence."""
    ends = list(_SENTENCE_END.finditer(piece))
    return piece[: ends[-1].end()] if ends else ""


def _as_document(piece: str) -> Document:
    title = None
    for pattern in (_TITLED, _TITLE_LINE):
        match = pattern.match(piece)
        if match is not None:
            title = _on_one_line(match["title"]).strip('*_" ') or None
            piece = piece[match.end() :]
            break
    return Document(_on_one_line(_TEXT_LABEL.sub("", piece)).strip("*_ "), title=title)


def _on_one_line(text: str) -> str:
    return " ".join(text.split())


def _from_json(text: str) -> list[Document] | None:
    """The documents of a reply that is JSON; None if it isn't."""
    if not text.startswith(("[", "{")):
        return None
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict):
        lists = [item for item in value.values() if isinstance(item, list)]
        value = lists[0] if lists else list(value.values())
    if not isinstance(value, Sequence) or isinstance(value, str):
        return None
    documents = []
    for item in value:
        if isinstance(item, dict):
            texts = [item[name] for name in ("text", "content", "snippet", "document", "summary") if item.get(name)]
            if not texts and len(item) == 1:  # as in {"Doc 1": "…"}
                texts = list(item.values())
            body, title = (texts[0] if texts else None), item.get("title")
        else:
            body, title = item, None
        if isinstance(body, str):
            title = _on_one_line(clean_text(title)) or None if isinstance(title, str) else None
            documents.append(Document(_on_one_line(clean_text(body)), title=title))
    return documents or None
