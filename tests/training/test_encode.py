"""Questions and words as token ids: where answers and labels stand, and what a step makes of them."""

import numpy as np
import pytest
import torch
from datasets import Dataset

from bitbert.prepare import prepare
from bitbert.recipes.schema import Calibration, Losses, Stage, load_recipe
from bitbert.training.calibrate import calibrate
from bitbert.training.distill import logits_loss, span_loss
from bitbert.training.encode import IGNORED, collator, default_length, digest, encode, some_batches
from bitbert.training.models import load_finetuned
from bitbert.training.tasks import TASKS, Task
from bitbert.training.trainer import QuantTrainer, arguments
from support import films, questions

pytestmark = pytest.mark.usefixtures("one_thread")

ANSWERING = Task("faq", "answering", ("question", "context"), "answers")
LABELS = ("O", "B-film", "B-mood")
TAGGING = Task("names", "tagging", ("words",), "tags", label_names=LABELS)
MODELS = {
    "answering": ("BertForQuestionAnswering", {"id2label": {0: "LABEL_0", 1: "LABEL_1"}}),
    "tagging": ("BertForTokenClassification", {"id2label": dict(enumerate(LABELS))}),
}


def asked(context, answer, start, question="is it good"):
    return Dataset.from_list([{"question": question, "context": context, "answers": [answer], "starts": [start]}])


def spans(encoded, tokenizer):
    """The tokens of the answer in each window."""
    tokens = [tokenizer.convert_ids_to_tokens(ids) for ids in encoded["input_ids"]]
    places = zip(encoded["start_positions"], encoded["end_positions"], strict=True)
    return [" ".join(row[start : end + 1]) for row, (start, end) in zip(tokens, places, strict=True)]


def test_an_answer_stands_where_its_characters_do(tokenizer):
    context = "a film ! the films is gripping xyz"
    for answer, expected in [("film", "film"), ("films", "film ##s"), ("xyz", "x ##y ##z"), ("a film !", "a film !")]:
        start = context.rindex(answer)
        encoded = encode(asked(context, answer, start), ANSWERING, tokenizer, 40)
        assert spans(encoded, tokenizer) == [expected]
        (types,) = encoded["token_type_ids"]
        assert types[encoded["start_positions"][0]] == 1


def test_an_answer_within_a_token_is_that_token(tokenizer):
    assert spans(encode(asked("a gripping film", "ripp", 3), ANSWERING, tokenizer, 40), tokenizer) == ["gripping"]


def test_only_windows_that_hold_the_whole_answer_have_it(tokenizer):
    context = "film " * 20 + "good bad " + "film " * 20
    encoded = encode(asked(context, "good bad", 100), ANSWERING, tokenizer, 20)
    found = spans(encoded, tokenizer)
    assert set(found) == {"good bad", "[CLS]"}
    ids = tokenizer.convert_tokens_to_ids(["good", "bad"])
    for row, span in zip(encoded["input_ids"], found, strict=True):
        whole = any(row[i : i + 2] == ids for i in range(5, len(row)))  # not in the question
        assert (span == "good bad") == whole


def test_windows_of_questions_are_those_of_transformers(tokenizer):
    """One text pair without overflow: the same ids and types as the tokenizer's own pair."""
    question, context = "is the film good", "the films is not gripping xyz !"
    encoded = encode(asked(context, "films", 4, question), ANSWERING, tokenizer, 40)
    stock = tokenizer(question, context, return_token_type_ids=True)
    for name in ("input_ids", "token_type_ids", "attention_mask"):
        assert encoded[name][0] == stock[name]


def test_a_label_stands_on_the_first_token_of_its_word(tokenizer):
    words, tags = ["the", "films", "\u200d", "xyz", "good"], [0, 1, 2, 0, 2]
    split = Dataset.from_list([{"words": words, "tags": tags}])
    encoded = encode(split, TAGGING, tokenizer, 40)
    stock = tokenizer(words, is_split_into_words=True)
    assert encoded["input_ids"][0] == stock["input_ids"]
    expected, before = [], None
    for word in stock.word_ids():
        expected.append(tags[word] if word is not None and word != before else IGNORED)
        before = word
    assert encoded["labels"][0] == expected


def test_every_word_of_a_long_row_is_learned(tokenizer):
    split = Dataset.from_list([{"words": ["film", "good"] * 30, "tags": [1, 2] * 30}])
    encoded = encode(split, TAGGING, tokenizer, 16)
    assert max(encoded["length"]) == 16
    for ids, labels in zip(encoded["input_ids"], encoded["labels"], strict=True):
        words = tokenizer.convert_ids_to_tokens(ids)
        assert labels == [{"film": 1, "good": 2}.get(word, IGNORED) for word in words]
    assert sum(len(row) - 2 for row in encoded["input_ids"]) >= 60


def test_a_row_without_a_token_is_left_out(tokenizer):
    rows = [{"words": ["\u200d"], "tags": [0]}, {"words": ["film"], "tags": [1]}]
    assert len(encode(Dataset.from_list(rows), TAGGING, tokenizer, 16)) == 1


def test_lengths_by_kind():
    assert [default_length(TASKS[name]) for name in ("sst2", "squad", "wnut17")] == [128, 384, 128]


# ---- a step ----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["answering", "tagging"])
def kind(request):
    return request.param


@pytest.fixture
def made(kind, tmp_path, tokenizer):
    """A trainer of a tiny prepared model beside a teacher with other weights, and a padded batch."""
    task = {"answering": ANSWERING, "tagging": TAGGING}[kind]
    architecture, config = MODELS[kind]
    path = films.save_model(tmp_path / "model", architecture, **config)
    data = questions.read(tmp_path, kind)
    train = encode(data.split("train"), task, tokenizer, 24)
    model = prepare(load_finetuned(path, task), load_recipe("kdlsq").spec("w4a8"))
    calibrate(model, some_batches(train, tokenizer, 16, 2, seed=0), Calibration())
    teacher = load_finetuned(path, task, scores=True)
    stage = Stage(epochs=0.5, batch_size=8, losses=Losses(labels=1.0, logits=1.0, scores=1.0, hidden=1.0))
    trainer = QuantTrainer(model, stage, arguments(stage, tmp_path / "work", 1), train, tokenizer, teacher=teacher)
    return trainer, collator(train, tokenizer)([train[i] for i in (0, 3, 5, 7)])


def losses_of(trainer, batch, **weights):
    trainer.stage = Stage(losses=Losses(**{"labels": 0.0, **weights}))
    trainer.model.eval()
    return trainer.compute_loss(trainer.model, dict(batch)).item()


def test_the_loss_on_labels_is_that_of_the_stock_head(made, monkeypatch):
    monkeypatch.setattr("bitbert.training.trainer.bfloat16_is_fast", lambda: False)
    trainer, batch = made
    inputs = {name: x for name, x in batch.items() if name != "length"}
    with torch.no_grad():
        expected = trainer.model(**inputs).loss.item()
    assert losses_of(trainer, batch, labels=1.0) == expected > 0


def test_the_loss_on_logits_leaves_out_what_is_not_asked(made, kind, monkeypatch):
    monkeypatch.setattr("bitbert.training.trainer.bfloat16_is_fast", lambda: False)
    trainer, batch = made
    inputs = {name: batch[name] for name in ("input_ids", "token_type_ids", "attention_mask")}
    with torch.no_grad():
        student, teacher = trainer.model(**inputs), trainer.teacher(**inputs)
    if kind == "answering":
        mask = batch["attention_mask"]
        expected = span_loss(student.start_logits, teacher.start_logits, mask)
        expected = expected + span_loss(student.end_logits, teacher.end_logits, mask)
    else:
        rows = [(i, j) for i, row in enumerate(batch["labels"].tolist()) for j, y in enumerate(row) if y != IGNORED]
        ours, theirs = (torch.stack([out.logits[i, j] for i, j in rows]) for out in (student, teacher))
        expected = logits_loss(ours, theirs)
    with trainer.accelerator.autocast():
        assert losses_of(trainer, batch, logits=1.0) == pytest.approx(expected.item(), rel=2e-2)


def test_training_steps_with_all_losses(made):
    trainer, _ = made
    before = [p.detach().clone() for p in trainer.model.parameters()]
    trainer.train()
    assert np.isfinite(trainer.state.log_history[-1]["train_loss"])
    assert any(not torch.equal(p, old) for p, old in zip(trainer.model.parameters(), before, strict=True))


def test_calibration_batches_hold_inputs_only(made, tokenizer):
    trainer, _ = made
    (batch,) = some_batches(trainer.train_dataset, tokenizer, 4, 1, seed=0)
    assert set(batch) == {"input_ids", "token_type_ids", "attention_mask"}


def test_the_digest_names_places_and_labels(made):
    train = made[0].train_dataset
    column = "end_positions" if "end_positions" in train.column_names else "labels"
    changed = train.to_dict()
    first = changed[column][0]
    changed[column][0] = [1, *first[1:]] if isinstance(first, list) else first + 1
    assert digest(Dataset.from_dict(changed)) != digest(train) == digest(Dataset.from_dict(train.to_dict()))
