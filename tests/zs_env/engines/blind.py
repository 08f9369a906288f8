"""A reader that doesn't know the question: can it tell useful replies from noisy ones by their words alone?"""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from zs_env.types import Document

Pair = tuple[str, Sequence[Document], Sequence[Document]]
"""A question's id, the documents of a useful reply, the documents of a noisy one."""


def blind_accuracy(pairs: Sequence[Pair], num_words: int = 600) -> float:
    """How often a linear classifier is right about replies to questions that it wasn't trained on.

    Its features are, for the most frequent words and word pairs, how often they come up and whether they do; then the
    numbers of documents, of words and of different words, and the length. The best of several regularisations counts.
    """
    ids = sorted({key for key, _, _ in pairs})
    half = set(np.random.default_rng(0).permutation(ids)[: len(ids) // 2].tolist())
    train = [(docs, label) for key, *both in pairs if key in half for docs, label in zip(both, (1, 0), strict=True)]
    test = [(docs, label) for key, *both in pairs if key not in half for docs, label in zip(both, (1, 0), strict=True)]
    counts = Counter(word for docs, _ in train for word in set(_words(docs)))
    vocabulary = {word: i for i, (word, _) in enumerate(counts.most_common(num_words))}
    train_x, test_x = _features(train, vocabulary), _features(test, vocabulary)
    mean, deviation = train_x.mean(0), train_x.std(0) + 1e-3
    train_x, test_x = (train_x - mean) / deviation, (test_x - mean) / deviation
    train_y, test_y = (np.array([label for _, label in part]) for part in (train, test))
    best = 0.0
    for ridge in (1e-3, 1e-2, 1e-1):
        gram = train_x.T @ train_x / len(train_x) + ridge * np.eye(train_x.shape[1])
        weights = np.linalg.solve(gram, train_x.T @ (train_y - 0.5) / len(train_x))
        best = max(best, float(((test_x @ weights > 0) == test_y).mean()))
    return best


def _words(documents: Sequence[Document]) -> list[str]:
    found = []
    for document in documents:
        words = re.findall(r"\w+", document.text.casefold())
        found += words + [f"{first} {second}" for first, second in pairwise(words)]
    return found


def _features(replies, vocabulary):
    table = np.zeros((len(replies), 2 * len(vocabulary) + 4), np.float32)
    for row, (documents, _) in zip(table, replies, strict=True):
        words = _words(documents)
        for word in words:
            place = vocabulary.get(word)
            if place is not None:
                row[place] += 1
                row[len(vocabulary) + place] = 1
        row[-4:] = len(documents), len(words), len(set(words)), sum(len(document.text) for document in documents)
    return table
