"""Opening checkpoints: which can be used, and what is said about the others."""

import json
import shutil

import pytest
import torch
import transformers

from bitbert.errors import ModelError
from bitbert.layers import attention
from bitbert.training.models import load_finetuned, load_pretrained, load_tokenizer
from bitbert.training.tasks import Task
from support import films

TASK = Task("films", "classification", ("text",), label_names=("negative", "positive"))
THREE = Task("films", "classification", ("text",), label_names=("bad", "good", "mixed"))
SCORES = Task("scores", "regression", ("text",))


@pytest.fixture
def changed(tmp_path, classifier):
    """A copy of the classifier with another config."""

    def change(**config):
        path = shutil.copytree(classifier, tmp_path / "changed")
        whole = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps(whole | config))
        return path

    return change


def problem(function, *arguments, **options):
    with pytest.raises(ModelError) as error:
        function(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_an_encoder_gets_a_head_for_the_task(encoder, capfd):
    model = load_pretrained(encoder, THREE)
    assert model.config.id2label == {0: "bad", 1: "good", 2: "mixed"}
    assert model.classifier.out_features == 3
    assert model.config.problem_type == "single_label_classification"
    assert capfd.readouterr() == ("", "")


def test_a_regression_has_one_output(encoder):
    model = load_pretrained(encoder, SCORES)
    assert (model.classifier.out_features, model.config.problem_type) == (1, "regression")


def test_a_head_that_fits_is_kept(classifier):
    stock = transformers.BertForSequenceClassification.from_pretrained(classifier)
    assert torch.equal(load_pretrained(classifier, TASK).classifier.weight, stock.classifier.weight)
    assert load_pretrained(classifier, THREE).classifier.out_features == 3


def test_a_checkpoint_in_half_precision_is_trained_in_float32(tmp_path, classifier):
    half = transformers.BertForSequenceClassification.from_pretrained(classifier).half()
    half.save_pretrained(tmp_path)
    films.save_tokenizer(tmp_path)
    assert load_finetuned(tmp_path, TASK).dtype == torch.float32


def test_only_a_teacher_hands_out_scores(classifier):
    batch = {"input_ids": torch.tensor([[2, 5, 3]])}
    teacher = load_finetuned(classifier, TASK, scores=True)
    assert teacher.config._attn_implementation == attention.NAME
    assert teacher(**batch, output_attentions=True).attentions[0].shape == (1, 2, 3, 3)
    assert load_finetuned(classifier, TASK).config._attn_implementation == "sdpa"


def test_no_such_model(tmp_path):
    assert "no model directory 'gone' (to fetch a model from the hub, add --download)" in problem(
        load_finetuned, "gone", TASK
    )
    (tmp_path / "file").write_text("")
    assert "no model directory" in problem(load_pretrained, tmp_path / "file", TASK)


@pytest.mark.parametrize("text", ["", "{", None])
def test_a_config_that_cannot_be_read(tmp_path, text):
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    assert f"{tmp_path / 'config.json'} cannot be read: " in problem(load_pretrained, tmp_path, TASK)


@pytest.mark.parametrize("config", ["[]", "{}", '{"model_type": "no-such"}'])
def test_a_config_of_nothing_known(tmp_path, config):
    (tmp_path / "config.json").write_text(config)
    assert str(tmp_path) in problem(load_pretrained, tmp_path, TASK)


def test_other_architectures_are_refused_with_those_that_are_not(tmp_path):
    config = transformers.DistilBertConfig(architectures=["DistilBertForSequenceClassification"])
    config.save_pretrained(tmp_path)
    message = problem(load_finetuned, tmp_path, TASK)
    assert "architecture DistilBertForSequenceClassification is not supported, expected one of: BertModel" in message


@pytest.mark.parametrize(
    ("config", "reason"),
    [({"hidden_act": "silu"}, "hidden_act 'silu' is not supported"), ({"is_decoder": True}, "decoders are not")],
)
def test_a_bert_that_the_engine_cannot_run(changed, config, reason):
    assert reason in problem(load_finetuned, changed(**config), TASK)


def test_a_model_without_a_head(encoder):
    message = problem(load_finetuned, encoder, TASK)
    assert "is a BertModel, which has no classification head: fine-tune it first (bitbert finetune)" in message


def test_a_model_with_other_labels(classifier):
    assert "has 2 outputs, but films needs 3" in problem(load_finetuned, classifier, THREE)
    assert "has 2 outputs, but scores needs 1" in problem(load_finetuned, classifier, SCORES)


def test_a_model_with_several_labels_for_a_text(changed):
    message = problem(load_finetuned, changed(problem_type="multi_label_classification"), TASK)
    assert "gives a text any number of labels, which is not supported" in message


def test_a_model_that_is_quantized_already(changed):
    message = problem(load_finetuned, changed(quantization_config={"quant_method": "bitbert"}), TASK)
    assert "is quantized already: expected a float checkpoint" in message


@pytest.mark.parametrize("keep", [0, 100, -100])
def test_weights_that_are_cut_short(changed, keep):
    weights = changed() / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    assert "cannot be loaded: " in problem(load_finetuned, weights.parent, TASK)


def test_weights_that_are_missing(changed):
    path = changed()
    (path / "model.safetensors").unlink()
    assert "cannot be loaded: " in problem(load_finetuned, path, TASK)


def test_a_tokenizer_that_is_missing_or_damaged(changed):
    path = changed()
    (path / "tokenizer.json").write_text("{")
    assert "no usable tokenizer" in problem(load_tokenizer, path)
    (path / "tokenizer.json").unlink()
    assert "no tokenizer: expected tokenizer.json or vocab.txt" in problem(load_tokenizer, path)


def test_a_tokenizer_of_another_model(changed):
    assert "the tokenizer has 65 tokens, but the model knows 64" in problem(load_tokenizer, changed(vocab_size=64))
