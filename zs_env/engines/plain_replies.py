"""How the template engine answers questions that aren't the atlas's: from the question and its golden answers alone.

There is no knowledge to be grounded in here, so this is plainer. Every sentence quotes a question and an answer to it:

- the *main* sentence of a useful reply has the question itself and a golden answer;
- *look-alikes* have the question with a word changed, which makes it another one, and a decoy for the answer.

A useful reply is main and look-alikes, one of which has two words changed; a noisy one is look-alikes. So both have as
many changed words, and only reading tells whether the question that was asked is answered. No look-alike holds a golden
answer in any of its forms. A query that shares no content word with the question gets look-alikes alone.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterator
from functools import lru_cache

from zs_env.actions import clean_text
from zs_env.engines.decoys import SMALL_WORDS, make_decoy, make_name
from zs_env.engines.draws import Draws, mix
from zs_env.engines.grounding import MAX_QUERY_CHARS
from zs_env.questions.atlas_text import JOINER, fold
from zs_env.rewards import normalize_answer
from zs_env.types import Document, Question

__all__ = ["PlainReplies"]

MIN_SENTENCES = 3
MAX_QUESTION_CHARS = 4_000
MAX_TOPIC_CHARS = 300
MAX_DECOY_CHARS = 200
NUM_LOOK_ALIKES = 24
TRIES = 8

_FRAMES = (
    'Asked "{topic}", one source says: {answer}.',
    'On "{topic}", the record gives: {answer}.',
    'To "{topic}", a guide answers: {answer}.',
)
_BARE_FRAME = '"{topic}": {answer}.'
_JOINERS = (JOINER, " Besides: ", " Then: ")

_WORD = re.compile(r"\w+(?:['’]\w+)*")

# What stands in for a word written small; as many of these come up in useful replies as in noisy ones.
_THINGS_TEXT = """
animal apple army author bank battle bird boat book bridge castle chair child church city clock cloud coat company
country crown dance dancer doctor dog door dream engine farm father film fire fish flag flower forest game garden
glass gold grain guitar harbor hat heart hill horse hotel house island judge king kitchen lake lamp language law
leader letter library lion machine map market master mirror money moon mother mountain movie museum music night
novel number ocean office opera painter painting palace paper park party pilot planet poem police port prince prison
queen radio rain river road rock room school sea ship singer sister snow soldier song sport star station stone storm
story street summer sun table teacher team temple theater tower town train tree valley village voice wall war water
wheel wind window winter wolf woman wood world year
"""
_THINGS = tuple(_THINGS_TEXT.split())


class PlainReplies:
    """Writes replies to any question that has golden answers. Bounded caches make repeated questions cheap."""

    def __init__(self) -> None:
        self._plan = lru_cache(maxsize=1_024)(_Plan)
        self._words = lru_cache(maxsize=16_384)(_content_words)

    def reply(
        self, query: str, question: Question, useful: bool, seed: int, topk: int
    ) -> tuple[tuple[Document, ...], bool]:
        """Write a reply of `topk` documents, and say whether it holds what the query asked for."""
        plan = self._plan(question.question, question.golden_answers)
        useful = useful and not plan.words.isdisjoint(self._words(query[:MAX_QUERY_CHARS]))
        bits = mix(seed)
        size = max(topk, MIN_SENTENCES)
        span = max(NUM_LOOK_ALIKES, 2 * size)
        start, stride = bits % span, _coprime(bits >> 7, span)
        documents = [plan.look_alike((start + i * stride) % span, 1) for i in range(size)]
        if useful:
            main = (bits >> 12) % size
            second = (main + 1 + (bits >> 18) % (size - 1)) % size
            documents[main] = plan.answer(bits >> 16)
            documents[second] = plan.look_alike((bits >> 4) % span, 2)
        if topk >= MIN_SENTENCES:
            return tuple(documents), useful
        cut = size if topk == 1 else 1 + (bits >> 24) % 2
        parts = (documents[:cut], documents[cut:])
        return tuple(Document(plan.joiner.join(d.text for d in part)) for part in parts if part), useful


class _Plan:
    """Everything that replies to one question are made of, written when it is first wanted."""

    def __init__(self, question: str, golden_answers: tuple[str, ...]) -> None:
        topic = clean_text(question[:MAX_QUESTION_CHARS]).strip().rstrip("?").rstrip()
        if len(topic) > MAX_TOPIC_CHARS:
            topic = topic[:MAX_TOPIC_CHARS].rpartition(" ")[0] or topic[:MAX_TOPIC_CHARS]
        self._topic = topic.replace('"', "'")
        self._golden = tuple(map(clean_text, golden_answers))
        self._forms = tuple(dict.fromkeys(f" {normalize_answer(golden)} " for golden in self._golden))
        self._frames = [frame for frame in _FRAMES if self._is_free(frame)] or [_BARE_FRAME]
        self._models = [g for g in self._golden if len(g) <= MAX_DECOY_CHARS] or [self._golden[0][:MAX_DECOY_CHARS]]
        self._named = [
            (golden, re.compile(rf"(?<!\w){re.escape(golden)}(?!\w)", re.IGNORECASE))
            for golden in self._models
            if golden and golden.casefold() in self._topic.casefold()
        ]
        self._seed = zlib.crc32(self._topic.encode()) << 16
        self._look_alikes: dict[tuple[int, int], Document] = {}
        self._answers: dict[int, Document] = {}
        self.words = _content_words(question[:MAX_QUESTION_CHARS])
        self.joiner = next((joiner for joiner in _JOINERS if self._is_free(joiner)), JOINER)

    def _is_free(self, text: str) -> bool:
        """Whether a text holds no word of a golden answer."""
        words = normalize_answer(text).split()
        return not any(f" {word} " in form for word in words for form in self._forms)

    def answer(self, choice: int) -> Document:
        """A sentence with the question and a golden answer."""
        choice %= len(self._golden) * len(self._frames)
        found = self._answers.get(choice)
        if found is None:
            golden, frame = divmod(choice, len(self._frames))
            found = Document(self._frames[frame].format(topic=self._topic, answer=self._golden[golden]))
            self._answers[choice] = found
        return found

    def look_alike(self, number: int, num_changes: int) -> Document:
        """A sentence with another question and another answer: the same for the same arguments."""
        key = number, num_changes
        found = self._look_alikes.get(key)
        if found is None:
            draws = Draws(self._seed + number * 2 + num_changes)
            found = self._look_alikes[key] = Document(
                next(filter(self._holds_none, self._attempts(draws, num_changes)))
            )
        return found

    def _attempts(self, draws: Draws, num_changes: int) -> Iterator[str]:
        """Sentences that are ever less likely to hold a golden answer."""
        for _ in range(TRIES):
            topic = self._change(self._without_golden(draws), num_changes, draws)
            yield draws.pick(self._frames).format(topic=topic, answer=make_decoy(draws.pick(self._models), draws))
        while True:
            yield _BARE_FRAME.format(topic=make_name(draws, 3), answer=make_name(draws, 3))

    def _holds_none(self, text: str) -> bool:
        normal = f" {normalize_answer(text)} "
        return not any(form in normal for form in self._forms)

    def _without_golden(self, draws: Draws) -> str:
        """The topic with decoys in place of the golden answers that it names."""
        topic = self._topic
        for golden, pattern in self._named:
            topic = make_decoy(golden, draws).join(pattern.split(topic))
        return topic

    @staticmethod
    def _change(topic: str, num_changes: int, draws: Draws) -> str:
        """Change words of a topic; where it has too few, say where it happened."""
        words = [match for match in _WORD.finditer(topic) if match[0].casefold() not in SMALL_WORDS]
        chosen = sorted(draws.shuffle(words)[:num_changes], key=lambda match: match.start())
        result, end = [], 0
        for match in chosen:
            word = match[0]
            plain = word.islower() and word.isascii()
            result += [topic[end : match.start()], draws.pick(_THINGS) if plain else make_decoy(word, draws)]
            end = match.end()
        places = "".join(f" in {make_name(draws)}" for _ in range(num_changes - len(chosen)))
        return "".join([*result, topic[end:], places])


def _content_words(text: str) -> frozenset[str]:
    """The folded words of a text that say something, without a plural's s; all words if none does."""
    words = fold(text).split()
    content = [word for word in words if word not in SMALL_WORDS]
    return frozenset(word.removesuffix("s") if len(word) > 3 else word for word in content or words)


def _coprime(bits: int, span: int) -> int:
    """A stride that visits every place of a span before any comes again."""
    stride = 1 + bits % span
    while math.gcd(stride, span) > 1:
        stride += 1
    return stride
