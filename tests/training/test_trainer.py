"""The training loop: which parameter learns how fast, what a step computes, and in which order batches come."""

import math

import pytest
import torch

from bitbert.layers import attention
from bitbert.prepare import prepare
from bitbert.recipes.schema import Calibration, Losses, Stage, load_recipe
from bitbert.training import trainer as module
from bitbert.training.calibrate import calibrate
from bitbert.training.encode import LengthGroupedSampler, digest, encode, some_batches
from bitbert.training.models import load_finetuned
from bitbert.training.trainer import QuantTrainer, arguments, bfloat16_is_fast

pytestmark = pytest.mark.usefixtures("one_thread")

ALL = Losses(labels=1.0, logits=1.0, scores=1.0, hidden=1.0)
RATES = {
    "learning_rate": 1e-4,
    "weight_scale_learning_rate": 2e-4,
    "activation_scale_learning_rate": 3e-4,
    "weight_decay": 0.1,
    "weight_scale_decay": 0.2,
    "activation_scale_decay": 0.3,
}


@pytest.fixture
def train(data, tokenizer):
    return encode(data.split("train"), data.task, tokenizer, 32)


@pytest.fixture
def make(tmp_path, data, train, tokenizer, classifier):
    """Makes a trainer of the tiny classifier, prepared by kdlsq unless `bits` is None."""

    def make(stage=None, bits="w4a8", teacher=None):
        model = load_finetuned(classifier, data.task)
        if bits is not None:
            prepare(model, load_recipe("kdlsq").spec(bits))
            calibrate(model, some_batches(train, tokenizer, 16, 2, seed=0), Calibration())
        stage = stage or Stage(losses=Losses())
        if stage.losses.needs_teacher:
            teacher = teacher or load_finetuned(classifier, data.task, scores=True)
        return QuantTrainer(model, stage, arguments(stage, tmp_path, 1), train, tokenizer, teacher=teacher)

    return make


@pytest.fixture
def batch(train, tokenizer):
    rows = [train[i] for i in range(8)]
    return dict(tokenizer.pad(rows, return_tensors="pt"))


# ---- parameters ------------------------------------------------------------------------------------------------------


def test_every_parameter_learns_at_the_rate_and_decay_of_its_kind(make):
    trainer = make(Stage(**RATES, losses=Losses()))
    names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
    groups = trainer.create_optimizer().param_groups
    found = {names[id(p)]: (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(found) == len(names)
    for name, settings in found.items():
        if "weight_quantizer" in name:
            assert settings == (2e-4, 0.2), name
        elif "quantizer" in name:
            assert settings == (3e-4, 0.3), name
        elif name.endswith("bias") or "LayerNorm" in name:
            assert settings == (1e-4, 0.0), name
        else:
            assert settings == (1e-4, 0.1), name
    assert sum("weight_quantizer" in name for name in found) == 10  # 3 embeddings, 6 linears, pooler
    assert sum("quantizer" in name and "weight_quantizer" not in name for name in found) == 10


def test_the_optimizer_forgets_as_fast_as_the_stage_says(make):
    assert {group["betas"] for group in make(Stage(adam_beta2=0.9)).create_optimizer().param_groups} == {(0.9, 0.9)}
    assert {group["betas"] for group in make(Stage()).create_optimizer().param_groups} == {(0.9, 0.999)}


def test_a_frozen_parameter_is_left_out(make):
    trainer = make()
    trainer.model.classifier.weight.requires_grad_(False)
    optimized = [id(p) for group in trainer.create_optimizer().param_groups for p in group["params"]]
    assert id(trainer.model.classifier.weight) not in optimized


def test_a_float_model_has_two_groups(make):
    groups = make(Stage(**RATES), bits=None).create_optimizer().param_groups
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [(1e-4, 0.1), (1e-4, 0.0)]


def test_scales_stay_positive_whatever_the_step(make):
    huge = {"weight_scale_learning_rate": 1e4, "activation_scale_learning_rate": 1e4}
    trainer = make(Stage(epochs=0.2, batch_size=8, **huge))
    before = scales(trainer.model)
    trainer.train()
    after = scales(trainer.model)
    assert all((after[name] != before[name]).any() for name in before)
    assert all((scale > 0).all() and scale.isfinite().all() for scale in after.values())


def scales(model):
    return {name: p.detach().clone() for name, p in model.named_parameters() if "quantizer" in name}


# ---- a step ----------------------------------------------------------------------------------------------------------


def test_the_loss_is_the_weighted_sum_of_its_terms(make, batch):
    trainer = make(Stage(losses=ALL))
    trainer.model.eval()
    single = {
        name: trainer_loss(trainer, Losses(**{"labels": 0.0, name: 1.0}), batch)
        for name in ("labels", "logits", "scores", "hidden")
    }
    assert all(value > 0 for value in single.values())
    weights = {"labels": 0.5, "logits": 2.0, "scores": 3.0, "hidden": 0.25}
    together = trainer_loss(trainer, Losses(**weights), batch)
    assert together == pytest.approx(sum(weights[name] * single[name] for name in weights), rel=1e-6)


def test_a_model_that_is_its_own_teacher_has_nothing_to_learn_from_it(monkeypatch, make, batch):
    monkeypatch.setattr("bitbert.training.trainer.bfloat16_is_fast", lambda: False)
    trainer = make(Stage(losses=ALL), bits=None)
    trainer.model.set_attn_implementation(attention.NAME)
    trainer.model.eval()
    assert trainer_loss(trainer, Losses(labels=0.0, scores=1.0, hidden=1.0), batch) == 0


def trainer_loss(trainer, losses, batch):
    trainer.stage = Stage(losses=losses)
    return trainer.compute_loss(trainer.model, batch).item()


@pytest.mark.parametrize(
    ("losses", "scores", "hidden"),
    [
        (Losses(), False, False),
        (Losses(logits=1.0), False, False),
        (Losses(scores=1.0), True, False),
        (Losses(hidden=1.0), False, True),
    ],
)
def test_only_tensors_that_a_loss_uses_are_kept(make, batch, losses, scores, hidden):
    trainer = make(Stage(losses=losses))
    seen = []
    for model in filter(None, (trainer.model, trainer.teacher)):
        model.register_forward_hook(lambda module, inputs, output: seen.append(output))
    trainer.compute_loss(trainer.model, batch)
    assert len(seen) == 1 + losses.needs_teacher
    for output in seen:
        assert (output.attentions is not None) == scores
        assert (output.hidden_states is not None) == hidden


def test_the_teacher_neither_learns_nor_drops_out(make, data, classifier):
    teacher = load_finetuned(classifier, data.task, scores=True).train()
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    trainer = make(Stage(epochs=0.2, batch_size=8, losses=ALL), teacher=teacher)
    trainer.train()
    assert trainer.model.training
    assert not any(part.training for part in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())


def test_dropout_is_that_of_the_stage(make):
    def of(model):
        return {part.p for part in model.modules() if isinstance(part, torch.nn.Dropout)}

    assert of(make().model) == {0.1}
    assert of(make(Stage(dropout=0.0)).model) == {0.0}
    distilled = make(Stage(dropout=0.3, losses=ALL))
    assert (of(distilled.model), of(distilled.teacher)) == ({0.3}, {0.1})


def test_without_dropout_a_step_is_a_function_of_the_batch(make, batch):
    trainer = make(Stage(dropout=0.0))
    trainer.model.train()
    assert trainer_loss(trainer, Losses(), batch) == trainer_loss(trainer, Losses(), batch)


def test_warm_up_is_a_share_of_the_steps_then_the_rate_falls_to_nothing(make):
    trainer = make(Stage(learning_rate=1e-3, warmup=0.25))
    trainer.create_optimizer_and_scheduler(num_training_steps=100)
    rates = []
    for _ in range(100):
        trainer.optimizer.step()
        trainer.lr_scheduler.step()
        rates.append(trainer.optimizer.param_groups[0]["lr"])
    assert max(rates) == rates[24] == pytest.approx(1e-3)
    assert rates[11] == pytest.approx(1e-3 * 12 / 25)
    assert rates[-1] == 0


@pytest.mark.parametrize("fast", [True, False])
def test_bfloat16_is_used_only_where_it_is_fast(monkeypatch, tmp_path, fast):
    monkeypatch.setattr(module, "bfloat16_is_fast", lambda: fast)
    assert arguments(Stage(), tmp_path, 1).bf16 is fast


@pytest.mark.parametrize(("amx", "avx512"), [(False, False), (True, False), (False, True)])
def test_bfloat16_is_fast_on_cpus_with_instructions_for_it(monkeypatch, amx, avx512):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    assert bfloat16_is_fast() is (amx or avx512)


# ---- batches ---------------------------------------------------------------------------------------------------------


def test_batches_hold_texts_of_similar_length():
    lengths = torch.randint(2, 128, (2000,), generator=torch.Generator().manual_seed(0)).tolist()
    order = list(LengthGroupedSampler(lengths, 16, seed=1))
    assert sorted(order) == list(range(2000))
    padded = sum(16 * max(lengths[i] for i in order[s : s + 16]) for s in range(0, 2000, 16))
    assert padded < 1.1 * sum(lengths)  # unsorted, the longest of 16 is near 128, and it would be 1.8


def test_the_order_is_a_function_of_seed_and_epoch_only():
    def order(seed, epoch):
        sampler = LengthGroupedSampler([3, 1, 4, 1, 5, 9, 2, 6] * 20, 4, seed)
        sampler.epoch = epoch
        torch.rand(seed + 5)  # whatever else draws random numbers
        return tuple(sampler)

    orders = [order(seed, epoch) for seed in (1, 2) for epoch in (0, 1)]
    assert orders == [order(seed, epoch) for seed in (1, 2) for epoch in (0, 1)]
    assert len(set(orders)) == 4


def test_each_epoch_of_a_run_has_its_own_order(make, train):
    trainer = make(Stage(epochs=3.0, batch_size=40))
    seen = []
    compute_loss = trainer.compute_loss
    trainer.compute_loss = lambda model, inputs, *args, **kwargs: (
        seen.append(inputs["input_ids"]),
        compute_loss(model, inputs, *args, **kwargs),
    )[1]
    trainer.train()
    epochs = [torch.cat([ids.flatten() for ids in seen[i : i + 3]]) for i in (0, 3, 6)]
    expected = []
    for epoch in range(3):
        sampler = LengthGroupedSampler(list(train["length"]), 40, seed=1)
        sampler.epoch = epoch
        rows = [train[i]["input_ids"] for i in sampler]
        batches = [rows[i : i + 40] for i in range(0, 120, 40)]
        padded = [ids + [0] * (max(map(len, batch)) - len(ids)) for batch in batches for ids in batch]
        expected.append(torch.tensor([i for ids in padded for i in ids]))
    assert all(torch.equal(a, b) for a, b in zip(epochs, expected, strict=True))


def test_encoding_cuts_and_never_pads(data, tokenizer):
    encoded = encode(data.split("train"), data.task, tokenizer, 6)
    assert max(encoded["length"]) == 6
    assert all(len(ids) == length for ids, length in zip(encoded["input_ids"], encoded["length"], strict=True))
    assert 0 not in {i for ids in encoded["input_ids"] for i in ids}


def test_the_digest_names_texts_and_labels(data, tokenizer):
    split = data.split("train")
    first = digest(encode(split, data.task, tokenizer, 32))
    assert first == digest(encode(split, data.task, tokenizer, 32))
    assert first != digest(encode(split, data.task, tokenizer, 6))
    relabelled = split.map(lambda row: {"label": 1 - row["label"]})
    assert first != digest(encode(relabelled, data.task, tokenizer, 32))


def test_calibration_batches_are_of_similar_length_and_without_labels(train, tokenizer):
    batches = some_batches(train, tokenizer, 16, 3, seed=0)
    assert [len(batch["input_ids"]) for batch in batches] == [16, 16, 16]
    assert all(set(batch) == {"input_ids", "token_type_ids", "attention_mask"} for batch in batches)
    everything = some_batches(train, tokenizer, 50, 99, seed=0)
    assert [len(batch["input_ids"]) for batch in everything] == [50, 50, 20]
    assert math.isclose(sum(int(batch["attention_mask"].sum()) for batch in everything), sum(train["length"]))
