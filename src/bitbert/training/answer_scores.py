"""Exact match and F1 of answers, as SQuAD v1.1 counts them (Rajpurkar et al. 2016, section 6.1).

Both compare words after case, punctuation and articles are taken out, with whichever right answer fits best.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLE = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def answer_scores(predicted: Sequence[str], right: Sequence[Sequence[str]]) -> dict[str, float]:
    """Means over N questions, in points; `right` has one or more answers for each.

    >>> answer_scores(["the Eiffel Tower!", "in 1889"], [["Eiffel tower"], ["1889", "the year 1889"]])
    {'f1': 83.33333333333333, 'exact_match': 50.0}
    """
    pairs = [
        (normalized(one).split(), [normalized(text).split() for text in texts])
        for one, texts in zip(predicted, right, strict=True)
    ]
    f1 = sum(max(overlap(words, other) for other in others) for words, others in pairs)
    exact = sum(words in others for words, others in pairs)
    return {"f1": 100.0 * f1 / len(pairs), "exact_match": 100.0 * exact / len(pairs)}


def normalized(text: str) -> str:
    """Lower case, without ASCII punctuation, articles and surplus blanks.

    >>> normalized("An  Eiffel-Tower, the.")
    'eiffeltower'
    """
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def overlap(one: Sequence[str], other: Sequence[str]) -> float:
    """F1 of the words that two answers share, each as often as it stands in both."""
    shared = (Counter(one) & Counter(other)).total()
    return 2.0 * shared / (len(one) + len(other)) if shared else 0.0
