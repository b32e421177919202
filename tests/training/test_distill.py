"""Distillation losses against plain loops, and padding that has no say in them."""

import math

import pytest
import torch

from bitbert.training.distill import (
    attention_loss,
    hidden_loss,
    logits_loss,
    scores_loss,
    span_loss,
    value_loss,
)

LENGTHS = [5, 2, 7]
MASK = (torch.arange(7)[None] < torch.tensor(LENGTHS)[:, None]).long()


def layers(count, *shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(3, *shape, generator=generator) for _ in range(count)]


def test_logits():
    student, teacher = torch.randn(4, 3), torch.randn(4, 3)
    total = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        norm_s, norm_t = math.log(sum(map(math.exp, s))), math.log(sum(map(math.exp, t)))
        total -= sum(math.exp(b - norm_t) * (a - norm_s) for a, b in zip(s, t, strict=True))
    assert logits_loss(student, teacher).item() == pytest.approx(total / 12, rel=1e-5)


def test_logits_of_a_regression():
    student, teacher = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [4.0]])
    assert logits_loss(student, teacher) == 2.5


def test_spans_of_full_windows_are_100_times_the_mean_over_their_positions():
    student, teacher = torch.randn(3, 384), torch.randn(3, 384)
    expected = 100 * -(teacher.softmax(-1) * student.log_softmax(-1)).mean()
    found = span_loss(student, teacher, torch.ones(3, 384))
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_padding_is_no_place_for_an_answer():
    student, teacher = (x[:, :, 0] for x in layers(2, 7, 1))
    student = student.clone().requires_grad_()
    loss = span_loss(student, teacher, MASK)
    single = [
        span_loss(s[None, :n], t[None, :n], torch.ones(1, n)).item()
        for s, t, n in zip(student, teacher, LENGTHS, strict=True)
    ]
    assert loss.item() == pytest.approx(sum(single) / 3, rel=1e-5)
    loss.backward()
    assert not student.grad[MASK == 0].any()
    assert student.grad[MASK == 1].isfinite().all()
    assert student.grad[MASK == 1].all()


def test_scores():
    student, teacher = layers(2, 2, 7, 7), layers(2, 2, 7, 7, seed=1)
    loss = 0.0
    for s, t in zip(student, teacher, strict=True):
        squares = [
            (s[b, h, i, j] - t[b, h, i, j]).item() ** 2
            for b, n in enumerate(LENGTHS)
            for h in range(2)
            for i in range(n)
            for j in range(n)
        ]
        loss += sum(squares) / len(squares)
    assert scores_loss(student, teacher, MASK).item() == pytest.approx(loss, rel=1e-5)


def test_hidden_states():
    student, teacher = layers(3, 7, 4), layers(3, 7, 4, seed=1)
    loss = 0.0
    for s, t in zip(student, teacher, strict=True):
        squares = [
            (s[b, i, f] - t[b, i, f]).item() ** 2 for b, n in enumerate(LENGTHS) for i in range(n) for f in range(4)
        ]
        loss += sum(squares) / len(squares)
    assert hidden_loss(student, teacher, MASK).item() == pytest.approx(loss, rel=1e-5)


def divergence(student, teacher):
    """KL(teacher || student) of two lists of scores, in float64."""
    ours, theirs = ([math.exp(x) for x in row.double().tolist()] for row in (student, teacher))
    ours, theirs = [x / sum(ours) for x in ours], [x / sum(theirs) for x in theirs]
    return sum(t * math.log(t / s) for s, t in zip(ours, theirs, strict=True))


def test_attention():
    student, teacher = layers(2, 2, 7, 7), layers(2, 2, 7, 7, seed=1)
    loss = 0.0
    for s, t in zip(student, teacher, strict=True):
        rows = [
            divergence(s[b, h, i, :n], t[b, h, i, :n])
            for b, n in enumerate(LENGTHS)
            for h in range(2)
            for i in range(n)
        ]
        loss += sum(rows) / len(rows)
    assert attention_loss(student, teacher, MASK).item() == pytest.approx(loss, rel=1e-5)
    assert attention_loss(teacher, teacher, MASK) == 0


def test_values():
    """Two heads of 4 features; the relations of a token with the others are scaled by 1 / sqrt(4)."""
    (student,), (teacher,) = layers(1, 7, 8), layers(1, 7, 8, seed=1)
    rows = []
    for b, n in enumerate(LENGTHS):
        for head in (slice(0, 4), slice(4, 8)):
            ours, theirs = (x[b, :n, head].double() for x in (student, teacher))
            rows += [divergence(ours @ ours[i] / 2, theirs @ theirs[i] / 2) for i in range(n)]
    assert value_loss(student, teacher, 2, MASK).item() == pytest.approx(sum(rows) / len(rows), rel=1e-5)


def test_padding_has_no_say_in_attention():
    student, teacher = layers(1, 2, 7, 7), layers(1, 2, 7, 7, seed=1)
    keys, queries = (MASK == 0)[:, None, None, :], (MASK == 0)[:, None, :, None]
    noisy = (student[0] + 1000 * (keys | queries)).requires_grad_()
    loss = attention_loss([noisy], teacher, MASK)
    assert torch.equal(loss.detach(), attention_loss(student, teacher, MASK))
    loss.backward()
    assert not noisy.grad[(keys | queries).expand_as(noisy)].any()
    assert noisy.grad.isfinite().all()


@pytest.mark.parametrize(("loss", "shape"), [(scores_loss, (2, 7, 7)), (hidden_loss, (7, 4))])
def test_padding_has_no_say(loss, shape):
    """Neither in the value nor in a gradient, whatever finite numbers stand there."""
    padding = MASK == 0
    if loss is scores_loss:
        padding = (padding[:, None, :, None] | padding[:, None, None, :]).expand(3, *shape)
    student, teacher = layers(2, *shape), layers(2, *shape, seed=1)
    noisy = [x + 1000 * padding.view(3, *([7, 1] if loss is hidden_loss else shape)) for x in student]
    before = loss(student, teacher, MASK)
    for x in noisy:
        x.requires_grad_()
    after = loss(noisy, teacher, MASK)
    assert torch.equal(before, after.detach())
    after.backward()
    for x in noisy:
        there = padding if loss is scores_loss else padding[..., None].expand_as(x)
        assert not x.grad[there].any()
        assert x.grad[~there].all()


def test_a_student_of_another_depth_is_not_compared_in_part():
    with pytest.raises(ValueError, match="argument 2 is longer"):
        hidden_loss(layers(2, 7, 4), layers(3, 7, 4), MASK)
