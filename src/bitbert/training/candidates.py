"""Words that may stand in the place of a word: what data augmentation draws from. No text is changed here.

Candidates come from the checkpoint itself, so nothing is downloaded: from its masked-LM head where it has one, which
sees the context (as in TinyBERT, Jiao et al. 2020), else from the neighbours of a word in its embedding table (TinyBERT
takes GloVe's). Both know only words that are one piece of the vocabulary; longer ones have no candidates and stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bitbert.checkpoint.atomic import new_directory

BLOCK = 1024  # words whose similarities to all others are held at once: 120 MB for a vocabulary of 30,000
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")  # "don't" is one word, so "don" is never replaced


@dataclass(frozen=True)
class Slot:
    """The characters `start` to `end` of a text, and the words that may take their place."""

    start: int
    end: int
    words: tuple[str, ...]


class WholeWords:
    """The vocabulary's words of two letters or more that are no stop words, and where a text has them."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Take the words from `tokenizer`, in the order of their ids."""
        found = sorted((i, token) for token, i in tokenizer.get_vocab().items() if _may_be_replaced(token))
        self.ids = torch.tensor([i for i, _ in found], dtype=torch.long)
        self.words = [token for _, token in found]
        self.capital = torch.tensor([word[0].isupper() for word in self.words], dtype=torch.bool)
        self._place = {word: place for place, word in enumerate(self.words)}
        self._normalizer = tokenizer.backend_tokenizer.normalizer

    def found_in(self, text: str) -> Iterator[tuple[re.Match[str], int]]:
        """Every one of the words in `text`, as a match and its place in `words`."""
        for match in _WORD.finditer(text):
            key = self._normalizer.normalize_str(match[0]) if self._normalizer else match[0]
            if (place := self._place.get(key)) is not None:
                yield match, place

    def slot(self, match: re.Match[str], places: Sequence[int]) -> Slot:
        """A match with the words at `places` as candidates, in its own case."""
        return Slot(match.start(), match.end(), tuple(_in_case_of(match[0], self.words[place]) for place in places))


def _may_be_replaced(token: str) -> bool:
    return token.isalpha() and len(token) > 1 and token.lower() not in ENGLISH_STOP_WORDS


def _in_case_of(word: str, other: str) -> str:
    """`other` in capitals, or with one, where `word` has them.

    >>> _in_case_of("Film", "movie"), _in_case_of("FILM", "movie"), _in_case_of("film", "movie")
    ('Movie', 'MOVIE', 'movie')
    """
    if word.isupper():
        return other.upper()
    return other[0].upper() + other[1:] if word[0].isupper() else other


def from_neighbours(texts: Sequence[str], words: WholeWords, near: Tensor) -> Iterator[list[Slot]]:
    """Slots of each text; `near` (words, M) has the places of each word's neighbours."""
    rows = near.tolist()
    for text in texts:
        yield [words.slot(match, rows[place]) for match, place in words.found_in(text)]


def neighbours(table: Tensor, words: WholeWords, count: int, file: Path) -> Tensor:
    """(words, M) places in `words` of the M nearest words by cosine, itself left out; M = `count` if there are so many.

    `table` (vocabulary, features). A word with a capital has neighbours with one, where the vocabulary has such words.
    The result is kept at `file` in a directory of its own, which the caller names after `table` and `count`.
    """
    if file.is_file():
        return load_file(file)["neighbours"]
    unit = torch.nn.functional.normalize(table[words.ids].float(), dim=-1)
    near = torch.cat([_nearest(unit, words.capital, start, count) for start in range(0, len(unit), BLOCK)])
    with new_directory(file.parent, replace=True) as partial:
        save_file({"neighbours": near}, partial / file.name)
    return near


def _nearest(unit: Tensor, capital: Tensor, start: int, count: int) -> Tensor:
    """(BLOCK, count) places of the rows of `unit` nearest to those from `start` on, by dot product."""
    block = slice(start, start + BLOCK)
    similarity = unit[block] @ unit.T
    similarity -= 2.0 * (capital[block, None] != capital)  # cosines span 2, so the other case comes after its own
    rows = torch.arange(len(similarity))
    similarity[rows, start + rows] = -torch.inf
    return similarity.topk(min(count, len(unit) - 1)).indices.int()


@torch.inference_mode()
def from_predictions(
    texts: Sequence[str], words: WholeWords, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, count: int
) -> Iterator[list[Slot]]:
    """Slots of each text with the `count` words that a masked-LM `model` finds most likely.

    It reads the text and, as the second one of a pair, the text with the word masked, as TinyBERT does. A word beyond
    the tokens that the model reads has no slot.
    """
    model.eval()
    for text in texts:
        found = list(words.found_in(text))
        yield _predicted(text, found, words, model, tokenizer, count) if found else []


def _predicted(
    text: str,
    found: Sequence[tuple[re.Match[str], int]],
    words: WholeWords,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    count: int,
) -> list[Slot]:
    masked = [f"{text[: match.start()]}{tokenizer.mask_token}{text[match.end() :]}" for match, _ in found]
    length = model.config.max_position_embeddings
    inputs = tokenizer(
        [text] * len(masked), masked, padding=True, truncation=True, max_length=length, return_tensors="pt"
    )
    rows, tokens = (inputs["input_ids"] == tokenizer.mask_token_id).nonzero(as_tuple=True)
    logits = model(**inputs).logits[rows, tokens][:, words.ids]
    logits[torch.arange(len(rows)), torch.tensor([found[row][1] for row in rows.tolist()])] = -torch.inf
    best = logits.topk(min(count, len(words.ids) - 1)).indices.tolist()
    return [words.slot(found[row][0], places) for row, places in zip(rows.tolist(), best, strict=True)]
