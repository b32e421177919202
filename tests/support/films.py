"""A tiny model and reviews that it can learn: what tests of training run on, in seconds."""

import torch
import transformers
from transformers import PreTrainedTokenizerFast

from bitbert.training.data import TaskData, load_task
from support.tiny_tokenizer import tiny_tokenizer

WORDS = {"positive": ("good", "gripping"), "negative": ("bad", "dull")}
SIZES = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}


def reviews(rows=120):
    """(text, label) of `rows` reviews, of two to eleven tokens."""
    lines = [
        (f"the film is {w} {'!' * (i % 7)}", label) for i in range(rows) for label, ws in WORDS.items() for w in ws
    ]
    return lines[:rows]


def write_csv(path, rows):
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    return path


def read(directory, rows=120) -> TaskData:
    """The reviews as data for training, through CSV files in `directory`."""
    train, held_out = reviews(rows), reviews(24)
    files = {
        "train_file": write_csv(directory / "train.csv", train),
        "test_file": write_csv(directory / "test.csv", held_out),
    }
    return load_task(**files, validation_file=write_csv(directory / "validation.csv", held_out[:12]))


def save_model(path, kind="BertForSequenceClassification", **config):
    """A random checkpoint with its tokenizer, as Hugging Face writes it."""
    torch.manual_seed(0)
    labels = {"id2label": {0: "negative", 1: "positive"}}
    sizes = transformers.BertConfig(vocab_size=101, max_position_embeddings=40, **{**SIZES, **labels, **config})
    getattr(transformers, kind)(sizes).save_pretrained(path)
    save_tokenizer(path)
    return path


def save_tokenizer(path):
    source = path / "source.json"
    source.write_bytes(tiny_tokenizer())
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_file=str(source), **special).save_pretrained(path)
    source.unlink()
