"""New pairs from the texts of those that there are, so that a student is taught more than its rows by heart.

Of each pair one text stays, the first and the second by turns. The other becomes one of the same column that has much
in common with the text that stays, by TF-IDF, or now and then any: pairs of texts that have nothing to do with each
other would teach little. Nobody has labelled such a pair, so a stage that trains on them learns from a teacher alone.

Distilling on inputs that the teacher labels anew is what augmentation does in TinyBERT (Jiao et al. 2020); of a pair's
texts all are real here, and of what n rows hold there are n^2 pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer

from bitbert.training.progress import counted

COLUMNS = ("text", "text_pair")
NEAR = 20  # texts with most in common, of which one is drawn
ANY = 0.25  # how often it may be any text
POOL = 10_000  # texts of a column at most, drawn at random, among which the nearest are looked for
ROWS_AT_ONCE = 512
WORD = r"\w+|[^\w\s]"

Indices = NDArray[np.intp]


def recombined(data: Dataset, *, copies: int, seed: int = 42, title: str | None = None) -> Dataset:
    """Up to `copies` new pairs for each row of `data`, none of them twice or in `data`; no rows where it has no pairs.

    Other columns are carried along, labels too. The same data and seed give the same rows. `title` names a progress bar
    (None: no bar).
    """
    if not set(COLUMNS) <= set(data.column_names):
        return data.select([])
    generator = np.random.default_rng(seed)
    first, second = (list(data[name]) for name in COLUMNS)
    with counted(title, 2 * len(data), "texts") as advance:
        drawn = [_partners(first, second, -(-copies // 2), generator, advance)]
        drawn += [_partners(second, first, copies // 2, generator, advance)]
    known, rows, pairs = set(zip(first, second, strict=True)), [], []
    for row in range(len(data)):
        new = [(first[row], text) for text in drawn[0][row]] + [(text, second[row]) for text in drawn[1][row]]
        for pair in new:
            if pair not in known:
                known.add(pair)
                rows.append(row)
                pairs.append(pair)
    columns: dict[str, Sequence[Any]] = dict(zip(COLUMNS, zip(*pairs, strict=True), strict=True)) if pairs else {}
    for name in set(data.column_names) - columns.keys():
        values = list(data[name])
        columns[name] = [values[row] for row in rows]
    return Dataset.from_dict(columns, features=data.features)


def _partners(
    texts: Sequence[str],
    others: Sequence[str],
    count: int,
    generator: np.random.Generator,
    advance: Callable[..., None],
) -> list[list[str]]:
    """For each of `texts` so many of `others`."""
    pool = sorted(set(others))
    pool = [pool[i] for i in sorted(generator.permutation(len(pool))[:POOL])]
    near = _nearest(texts, pool, advance)
    picked = near[np.arange(len(texts))[:, None], generator.integers(near.shape[1], size=(len(texts), count))]
    free = generator.random(picked.shape) < ANY
    picked[free] = generator.integers(len(pool), size=int(free.sum()))
    return [[pool[i] for i in of_text] for of_text in picked]


def _nearest(texts: Sequence[str], pool: Sequence[str], advance: Callable[..., None]) -> Indices:
    """(texts, `NEAR` or all): which of `pool` have most in common with each text."""
    count = min(NEAR, len(pool))
    words = TfidfVectorizer(token_pattern=WORD, dtype=np.float32)
    words.fit([".", *pool, *texts])  # a vocabulary must not be empty
    theirs, found = words.transform(pool).T.tocsc(), []
    for start in range(0, len(texts), ROWS_AT_ONCE):
        part = texts[start : start + ROWS_AT_ONCE]
        common = (words.transform(part) @ theirs).toarray()
        found.append(np.argpartition(-common, count - 1, axis=1)[:, :count])
        advance(len(part))
    return np.concatenate(found)
