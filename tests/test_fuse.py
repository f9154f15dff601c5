"""`fuse`: what it folds into a convolution, and what it leaves with a reason."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import pyconv


class Block(nn.Module):
    """A residual block as models write them: modules by name, one activation as a function."""

    def __init__(self, channels: int, untraceable: bool) -> None:
        super().__init__()
        self.conv1, self.bn1, self.act = (
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )
        self.conv2, self.bn2 = (
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.untraceable = untraceable

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.act(self.bn1(self.conv1(x)))))
        if self.untraceable and float(y.sum()) > 1e30:  # torch.fx cannot decide this
            return x
        return F.relu(x + y)


def statistics(model: nn.Module) -> nn.Module:
    """Batch norms that do something: statistics and weights away from 0 and 1."""
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for t, low in (
                (module.running_mean, -1),
                (module.running_var, 0.5),
                (module.weight, 0.5),
                (module.bias, -1),
            ):
                nn.init.uniform_(t.data, low, 1.5)
    return model.eval().double()


def test_fuse() -> None:
    head = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.SiLU(), Block(4, False))
    model = statistics(nn.Sequential(head, Block(4, True), nn.Conv2d(4, 2, 1), nn.GELU(), nn.Conv2d(2, 2, 1)))
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64)
    want = model(x)
    assert len(pyconv.convert(model).replaced) == 7
    report = pyconv.fuse(model)
    folded = [("0.0", "0.1"), ("0.3.conv1", "0.3.bn1"), ("0.3.conv2", "0.3.bn2")]
    assert report.folded == folded  # the second block cannot be traced, and has no modules that hold others
    assert report.activated == [("0.0", "0.2"), ("0.3.conv1", "0.3.act")]
    assert [name for name, _ in report.left] == ["1.bn1", "1.bn2"]
    assert "3 folded" in str(report) and "0.1 into 0.0" in str(report)
    # Folding changes the order of a few roundings, of a network six layers deep.
    torch.testing.assert_close(model(x), want, rtol=1e-12, atol=1e-12)
    assert isinstance(head[1], nn.Identity) and head[0].activation == "silu"


def test_fuse_follows_functions_and_torchs_layers() -> None:
    model = statistics(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()))
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64)
    want = model(x)
    report = pyconv.fuse(model)
    assert (report.folded, report.activated) == ([("0", "1")], [])
    assert isinstance(model[2], nn.ReLU)
    torch.testing.assert_close(model(x), want, rtol=1e-12, atol=1e-12)


def test_fuse_leaves_what_it_cannot_know() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn = pyconv.Conv2D(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            return self.bn(y) + y

    class Sharing(nn.Module):
        """Two blocks, each of which can be traced, with one convolution; as a whole it cannot be."""

        def __init__(self) -> None:
            super().__init__()
            shared = pyconv.Conv2D(3, 3, 1)
            self.first, self.second = nn.Sequential(shared, nn.BatchNorm2d(3)), nn.Sequential(shared)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x)) if x.isfinite().all() else x

    class Reading(nn.Module):
        """Its own code uses numbers of a layer that it also calls."""

        def __init__(self, path: str) -> None:
            super().__init__()
            self.conv, self.bn, self.path = pyconv.Conv2D(3, 3, 1), nn.BatchNorm2d(3), path

        def forward(self, x: Tensor) -> Tensor:
            layer, name = self.path.split(".")
            return self.bn(self.conv(x)) + getattr(getattr(self, layer), name).sum()

    class OfItsDtype(Reading):
        def __init__(self) -> None:
            super().__init__("conv.weight")

        def forward(self, x: Tensor) -> Tensor:
            return self.bn(self.conv(x.to(self.conv.weight.dtype)))

    def pair(*changes) -> nn.Sequential:
        """A convolution and a batch norm, each in a module of its own, changed by calls of `changes`."""
        made = nn.Sequential(nn.Sequential(pyconv.Conv2D(3, 3, 1)), nn.Sequential(nn.BatchNorm2d(3)))
        for change in changes:
            change(made)
        return made

    tied = nn.Sequential(pyconv.Conv2D(3, 3, 1), nn.BatchNorm2d(3), pyconv.Conv2D(3, 3, 1))
    tied[2].weight = tied[0].weight
    other = torch.randn(3, 3, 1, 1)
    cases = [
        ("no trace", Twice()),
        ("several places", Sharing()),
        ("code reads its numbers", Reading("conv.weight")),
        ("code reads its numbers", Reading("conv.bias")),
        ("code reads its numbers", Reading("bn.running_var")),
        ("another module has a weight", tied),
        ("Conv2D 0.0 has hooks", pair(lambda m: m[0][0].register_forward_hook(lambda *_: None))),
        ("Conv2D 0.0 has hooks", pair(lambda m: m[0][0].register_full_backward_hook(lambda *_: None))),
        ("BatchNorm2d 1.0 has hooks", pair(lambda m: m[1][0].register_forward_pre_hook(lambda *_: None))),
        (
            "BatchNorm2d 1.0 has hooks",
            pair(lambda m: m[1][0].register_full_backward_pre_hook(lambda *_: None)),
        ),
        ("Sequential 0 has hooks", pair(lambda m: m[0].register_forward_hook(lambda *_: None))),
        ("Sequential 1 has hooks", pair(lambda m: m[1].register_full_backward_hook(lambda *_: None))),
        (
            "replaced on the instance",
            pair(lambda m: setattr(m[0][0], "forward", lambda x: pyconv.conv2d(x, other))),
        ),
        ("each batch", nn.Sequential(pyconv.Conv2D(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False))),
        ("activation before it", nn.Sequential(pyconv.Conv2D(3, 3, 1, activation="relu"), nn.BatchNorm2d(3))),
        (
            "subclass",
            nn.Sequential(nn.utils.parametrizations.weight_norm(pyconv.Conv2D(3, 3, 1)), nn.BatchNorm2d(3)),
        ),
    ]
    x = torch.randn(2, 3, 4, 4)
    for reason, model in cases:
        model.eval()
        want = model(x)
        report = pyconv.fuse(model)
        assert report.folded == report.activated == []
        assert len(report.left) == 1 and reason in report.left[0][1], f"{reason}: {report}"
        assert torch.equal(model(x), want)
    # Hooks outside of both see the same, and a dtype is not a number.
    assert pyconv.fuse(pair(lambda m: m.register_forward_hook(lambda *_: None)).eval()).folded
    assert pyconv.fuse(OfItsDtype().eval()).folded == [("conv", "bn")]
    hooked = nn.Sequential(pyconv.Conv2D(3, 3, 1), nn.ReLU()).eval()
    hooked[0].register_forward_hook(lambda *_: None)
    assert pyconv.fuse(hooked).activated == [] and hooked[0].activation is None
    kept = nn.Sequential(pyconv.Conv2D(3, 3, 1), nn.GELU(approximate="tanh")).eval()
    assert pyconv.fuse(kept).activated == [] and isinstance(kept[1], nn.GELU)
    with pytest.raises(RuntimeError, match="training"):
        pyconv.fuse(nn.Sequential(pyconv.Conv2D(3, 3, 1)))
    with pytest.raises(TypeError, match="Module"):
        pyconv.fuse(3)
