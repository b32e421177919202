"""Questions and tagged words that a tiny model can learn, and the files that they come in."""

import json

from bitbert.training.data import TaskData, load_task

KINDS = {"mood": ("good", "gripping", "bad", "dull"), "film": ("film",)}


def questions(rows=96):
    """What is asked for stands after "is" in a context of up to 40 tokens."""
    moods = KINDS["mood"]
    out = []
    for i in range(rows):
        mood, before = moods[i % 4], "! " * (i % 5) + "a b c d e f g h " * (i % 3)
        context = f"{before}the film is {mood} ."
        starts = [context.index(f"is {mood}") + 3]
        answers = {"text": [mood], "answer_start": starts}
        out.append({"question": "is it good", "context": context, "answers": answers})
    return out


def tagged(rows=96):
    """Films and moods, by the word alone; some words have several tokens."""
    labels = {word: f"B-{kind}" for kind, words in KINDS.items() for word in words}
    out = []
    for i in range(rows):
        words = ["the", "film", "xyz", "is", KINDS["mood"][i % 4], *["!"] * (i % 4), *["the", "films"] * (i % 2)]
        out.append({"words": words, "tags": [labels.get(word, "O") for word in words]})
    return out


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(directory, contents) -> TaskData:
    """The rows as data for training: 96 to train on, 24 for validation."""
    make = {"answering": questions, "tagging": tagged}[contents]
    files = {f"{split}_file": write_jsonl(directory / f"{split}.jsonl", make(n)) for split, n in SIZES.items()}
    return load_task(**files, contents=contents)


SIZES = {"train": 96, "validation": 24}
