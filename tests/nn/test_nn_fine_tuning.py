"""fine_tune: it learns, resumes to the same bits, keeps its hands off everything else."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from rankconv.nn import fine_tune, low_rank_copy, project_
from rankconv.nn.fine_tuning import _loss, _rate

torch.set_num_threads(1)


def teacher(classes=4):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 36, classes),
    ).eval()


def not_finite():
    net = teacher()
    net[-1].bias.data[0] = float("nan")
    return net


def images(n=48):
    return torch.randn(n, 3, 6, 6, generator=torch.Generator().manual_seed(1))


def agreement(a, b, x):
    with torch.no_grad():
        return float(functional.mse_loss(copy.deepcopy(a).eval()(x), b(x)))


def test_the_student_comes_nearer_to_the_teacher():
    net = teacher()
    cut = low_rank_copy(net, 4, kind="spatial_svd")
    before = agreement(cut, net, images())
    seen = []
    tuned, records = fine_tune(
        cut, net, images(), epochs=20, batch=16, lr=0.05, record_every=20, progress=seen.append
    )
    assert agreement(tuned, net, images()) < 0.6 * before
    assert records == seen
    assert [r.step for r in records] == [20, 40, 60]
    assert records[-1].epoch == 19
    assert records[-1].loss < records[0].loss
    assert not tuned.training


def test_nothing_else_is_touched():
    net = teacher().train()
    cut = low_rank_copy(net, 2, kind="channel_svd")
    cut[0].requires_grad_(False)
    kept = [copy.deepcopy(m.state_dict()) for m in (net, cut)]
    state = torch.get_rng_state()
    tuned, _ = fine_tune(cut, net, images(), steps=3, batch=16)
    assert torch.equal(torch.get_rng_state(), state)
    for module, before in zip((net, cut), kept, strict=True):
        assert module.training
        for name, value in module.state_dict().items():
            assert torch.equal(value, before[name])
    assert torch.equal(tuned[0].chain[0].weight, cut[0].chain[0].weight)
    for name in ("4.chain.0.weight", "4.chain.1.weight", "7.weight", "1.running_mean"):
        assert not torch.equal(tuned.state_dict()[name], cut.state_dict()[name]), name


def test_frozen_batch_norm_keeps_scale_and_statistics():
    net = teacher()
    tuned, _ = fine_tune(
        low_rank_copy(net, 2), net, images(), steps=3, batch=16, freeze_batch_norm=True
    )
    for name, value in net[1].state_dict().items():
        assert torch.equal(tuned[1].state_dict()[name], value)


def test_no_batch_is_too_small_for_batch_norm():
    net = nn.Sequential(nn.Flatten(), nn.Linear(108, 4), nn.BatchNorm1d(4))
    _, records = fine_tune(net, net, images(17), epochs=2, batch=16)
    assert records[-1].step == 2


def test_a_run_broken_off_ends_in_the_same_weights(tmp_path):
    net = teacher()
    cut = low_rank_copy(net, 2, kind="spatial_svd")

    def augment(x, generator):
        return x + 0.1 * torch.randn(x.shape, generator=generator)

    options = {"steps": 9, "batch": 20, "record_every": 2, "augment": augment, "seed": 5}
    whole, records = fine_tune(cut, net, images(), **options)
    file = tmp_path / "run.pt"

    def stop(record):
        if record.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fine_tune(cut, net, images(), **options, checkpoint=file, progress=stop)
    resumed, again = fine_tune(cut, net, images(), **options, checkpoint=file)
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    assert [(r.step, r.loss, r.lr) for r in again] == [(r.step, r.loss, r.lr) for r in records]
    done, _ = fine_tune(cut, net, images(), **options, checkpoint=file)
    assert torch.equal(done[7].weight, whole[7].weight)
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(ValueError, match="steps=9 there, 8 here"):
        fine_tune(cut, net, images(), **(options | {"steps": 8}), checkpoint=file)
    with pytest.raises(ValueError, match="belongs to another model"):
        fine_tune(low_rank_copy(net, 1), net, images(), **options, checkpoint=file)
    other, _ = fine_tune(cut, net, images(), **(options | {"seed": 6}))
    assert not torch.equal(other[7].weight, whole[7].weight)


def test_a_checkpoint_cannot_run_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    file = tmp_path / "run.pt"
    torch.save({"identity": {}, "records": [], "model": Evil()}, file)
    net = teacher()
    with pytest.raises(ValueError, match="not a checkpoint of fine_tune"):
        fine_tune(net, net, images(), steps=1, checkpoint=file)
    assert not (tmp_path / "ran").exists()


def test_loss_is_hinton_s_against_its_definition():
    rng = torch.Generator().manual_seed(0)
    got, wanted = torch.randn(2, 5, 3, generator=rng, dtype=torch.float64)
    labels = torch.tensor([0, 2, 1, 1, 0])
    p, q = (wanted / 4).softmax(1), (got / 4).softmax(1)
    kl = 16 * (p * (p / q).log()).sum(1).mean()
    hard = -got.log_softmax(1)[torch.arange(5), labels].mean()
    torch.testing.assert_close(_loss(got, wanted, None, 4, 0.5).double(), kl, rtol=1e-5, atol=1e-6)
    mixed = _loss(got, wanted, labels, 4, 0.25).double()
    torch.testing.assert_close(mixed, 0.75 * kl + 0.25 * hard, rtol=1e-5, atol=1e-6)
    square = _loss(got[:, :1], wanted[:, :1], wanted[:, :1] + 1, 4, 0.25).double()
    a, b = got[:, :1], wanted[:, :1]
    expected = 0.75 * ((a - b) ** 2).mean() + 0.25 * ((a - b - 1) ** 2).mean()
    torch.testing.assert_close(square, expected, rtol=1e-5, atol=1e-6)


def test_rate_rises_and_falls_to_nothing():
    rates = [_rate(step, 100) for step in range(100)]
    np.testing.assert_allclose(rates[:5], [0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[-1] < 0.002


def test_images_to_images_in_bfloat16_with_targets():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 3, 3, padding=1))
    cut = copy.deepcopy(net)
    project_(cut, 1)
    before = agreement(cut, net, images())
    with torch.no_grad():
        targets = net(images())
    loader = [(images()[:24], targets[:24]), (images()[24:], targets[24:])]
    tuned, records = fine_tune(cut, net, loader, steps=40, batch=16, lr=0.1, bfloat16=True)
    assert agreement(tuned, net, images()) < 0.5 * before
    assert next(tuned.parameters()).dtype == torch.float32
    assert len(records) == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "pass one of them"),
        ({"steps": 1, "epochs": 1}, "pass one of them"),
        ({"steps": 0}, "integer >= 1"),
        ({"steps": 1, "lr": 0}, "lr=0"),
        ({"steps": 1, "batch": 0}, "batch=0"),
        ({"steps": 1, "temperature": -1}, "temperature=-1"),
        ({"steps": 1, "label_weight": 2}, "label_weight=2"),
        ({"steps": 1, "labels": torch.full((48,), 9)}, "labels go up to 9"),
        ({"steps": 1, "labels": torch.zeros(48, 7)}, "do not fit outputs"),
        ({"steps": 2, "teacher": not_finite()}, "the loss is nan by step 2"),
        ({"steps": 1, "teacher": teacher(5)}, "must be alike"),
        ({"steps": 1, "model": teacher().requires_grad_(False)}, "nothing can be trained"),
    ],
)
def test_bad_input_is_refused(options, says):
    options = {"model": teacher(), "teacher": teacher(), "data": images(), "batch": 16} | options
    with pytest.raises(ValueError, match=says):
        fine_tune(options.pop("model"), options.pop("teacher"), options.pop("data"), **options)
