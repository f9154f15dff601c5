"""Conv2D is a torch.nn.Conv2d in everything but who computes it."""

import copy
import pickle

import pytest
import torch
from torch import nn

import pyconv
from pyconv import Conv2D, LazyConv2D, reference

LAYERS = [
    ((3, 6, 3), {}),
    ((4, 6, (3, 2)), {"stride": 2, "padding": (1, 0), "dilation": (1, 2), "groups": 2, "bias": False}),
    ((3, 3, [1, 3]), {"padding": [0, 2], "padding_mode": "circular", "groups": 3}),
    ((3, 6, 3), {"padding": "same", "padding_mode": "reflect"}),
    ((3, 6, (2, 3)), {"padding": "same", "padding_mode": "replicate", "dilation": 2}),
    ((3, 6, 3), {"padding": "valid"}),
    ((3, 6, 3), {"dtype": torch.float64, "padding": 2}),
]


@pytest.fixture(params=LAYERS, ids=str)
def layers(request):
    """The same layer twice, ours and torch's, from the same random state."""
    arguments, options = request.param
    pair = []
    for kind in (Conv2D, nn.Conv2d):
        torch.manual_seed(0)
        pair.append(kind(*arguments, **options))
    return pair


def test_is_a_torch_layer(layers):
    ours, theirs = layers
    assert isinstance(ours, nn.Conv2d)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value)
    assert ours.extra_repr() == theirs.extra_repr()
    assert repr(ours) == repr(theirs).replace("Conv2d(", "Conv2D(")
    for name in (
        "in_channels",
        "out_channels",
        "kernel_size",
        "stride",
        "padding",
        "dilation",
        "groups",
        "padding_mode",
        "_reversed_padding_repeated_twice",
    ):
        assert list(map(str, [getattr(ours, name)])) == list(map(str, [getattr(theirs, name)])), name


def test_state_dict_goes_both_ways(layers):
    ours, theirs = layers
    with torch.no_grad():
        ours.weight.add_(1)
    theirs.load_state_dict(ours.state_dict())
    assert torch.equal(theirs.weight, ours.weight)
    with torch.no_grad():
        theirs.weight.mul_(2)
    ours.load_state_dict(theirs.state_dict())
    assert torch.equal(theirs.weight, ours.weight)


@pytest.mark.parametrize("batched", [True, False], ids=["batched", "unbatched"])
def test_same_output_and_gradients(layers, batched):
    for layer in layers:
        for parameter in layer.parameters():
            parameter.data = torch.randint(
                -3, 4, parameter.shape, generator=torch.Generator().manual_seed(1)
            ).to(parameter.dtype)
    ours, theirs = layers
    x = torch.randint(-3, 4, (2, ours.in_channels, 7, 8)).to(ours.weight.dtype)
    x = x if batched else x[0]
    out, want = ours(x), theirs(x)
    assert torch.equal(out, want)
    g = torch.randint(-3, 4, out.shape).to(out.dtype)
    out.backward(g)
    want.backward(g)
    for mine, his in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine.grad, his.grad)


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_padding_of_four_sides(mode):
    layer = Conv2D(2, 3, 3, padding=(1, 0, 2, 1), padding_mode=mode, dtype=torch.float64)
    assert layer.padding == (1, 0, 2, 1)
    assert "padding=(1, 0, 2, 1)" in repr(layer)
    x = torch.randn(1, 2, 5, 6, dtype=torch.float64)
    want = reference.conv2d_torch(x, layer.weight, layer.bias, padding=(1, 0, 2, 1), padding_mode=mode)
    torch.testing.assert_close(layer(x), want)
    padded = nn.functional.pad(x, layer._reversed_padding_repeated_twice)
    assert padded.shape[2:] == (6, 9)


def test_padding_forms():
    assert Conv2D(1, 1, 3, padding=1).padding == (1, 1)
    assert Conv2D(1, 1, 3, padding=[1, 2]).padding == (1, 2)
    assert Conv2D(1, 1, 3, padding=(1,)).padding == (1, 1)
    assert Conv2D(1, 1, 3, padding=[1, 2, 3, 4]).padding == (1, 2, 3, 4)
    assert Conv2D(1, 1, 3, padding="same").padding == "same"


def test_padding_makes_no_padded_copy(monkeypatch):
    monkeypatch.setattr(nn.functional, "pad", lambda *a, **k: pytest.fail("F.pad was called"))
    assert Conv2D(1, 1, 3, padding=1, padding_mode="reflect")(torch.randn(1, 1, 5, 5)).shape == (1, 1, 5, 5)


def test_copies_and_pickles():
    layer = Conv2D(2, 3, 3, padding=(1, 0, 2, 1))
    x = torch.randn(1, 2, 5, 5)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert type(twin) is Conv2D
        assert torch.equal(twin(x), layer(x))


def test_devices_and_dtypes():
    assert Conv2D(2, 3, 3, device="meta", dtype=torch.bfloat16).weight.is_meta
    assert Conv2D(2, 3, 3).to(torch.bfloat16)(torch.randn(1, 2, 4, 4).bfloat16()).dtype == torch.bfloat16
    out = Conv2D(2, 3, 3, device="meta")(torch.empty(4, 2, 8, 8, device="meta"))
    assert out.is_meta and out.shape == (4, 3, 6, 6)


def test_channels_last_layer_gives_channels_last():
    layer = Conv2D(2, 3, 3).to(memory_format=torch.channels_last)
    assert layer(torch.randn(2, 2, 5, 5)).is_contiguous(memory_format=torch.channels_last)


def test_fine_in_a_sequential_with_an_optimizer():
    torch.manual_seed(0)
    net = nn.Sequential(Conv2D(1, 2, 3, padding=1), nn.ReLU(), pyconv.Conv2D(2, 1, 3, padding=1))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    x = torch.randn(4, 1, 6, 6)
    losses = []
    for _ in range(20):
        loss = (net(x) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def lazy(kind, arguments, options):
    """A lazy layer for the arguments of one that is not; of the same random state every time."""
    torch.manual_seed(0)
    return kind(*arguments[1:], **options)


@pytest.mark.parametrize("batched", [True, False], ids=["batched", "unbatched"])
@pytest.mark.parametrize(("arguments", "options"), LAYERS, ids=str)
def test_lazy_layer_becomes_what_torchs_does(arguments, options, batched):
    ours, theirs = (lazy(kind, arguments, options) for kind in (LazyConv2D, nn.LazyConv2d))
    assert isinstance(ours, nn.LazyConv2d) and isinstance(ours, Conv2D)
    assert repr(ours) == repr(theirs).replace("LazyConv2d(", "LazyConv2D(")
    assert ours.has_uninitialized_params() and list(ours.state_dict()) == list(theirs.state_dict())
    x = torch.randn(2, arguments[0], 9, 8).to(ours.weight.dtype)
    x = x if batched else x[0]
    optimizer = torch.optim.SGD(ours.parameters(), lr=1)
    torch.manual_seed(1)
    y = ours(x)
    torch.manual_seed(1)
    theirs(x)
    assert type(ours) is Conv2D and repr(ours) == repr(theirs).replace("Conv2d(", "Conv2D(")
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value)
    assert optimizer.param_groups[0]["params"][0] is ours.weight
    torch.manual_seed(1)
    eager = Conv2D(*arguments, **options)
    assert torch.equal(ours.weight, eager.weight) and torch.equal(y, eager(x))


@pytest.mark.parametrize("kind", [LazyConv2D, nn.LazyConv2d])
def test_lazy_layer_loads_a_state_before_its_first_call(kind):
    """The state's numbers stay; torch's layer and ours take each other's."""
    source = Conv2D(4, 6, 3, groups=2)
    layer = kind(6, 3, groups=2)
    layer.load_state_dict(source.state_dict())
    assert not layer.has_uninitialized_params() and torch.equal(layer.weight, source.weight)
    x = torch.randn(1, 4, 5, 5)
    layer(x)
    assert torch.equal(layer.weight, source.weight) and torch.equal(layer.bias, source.bias)
    if kind is LazyConv2D:
        assert type(layer) is Conv2D and torch.equal(layer(x), source(x))
    fresh = LazyConv2D(6, 3, groups=2)
    fresh.load_state_dict(kind(6, 3, groups=2).state_dict())  # a state without numbers
    assert fresh.has_uninitialized_params() and fresh(x).shape == (1, 6, 3, 3)


@pytest.mark.parametrize("used", [False, True], ids=["before", "after"])
def test_lazy_copies_and_pickles(used):
    layer, x = LazyConv2D(3, 3, padding=(1, 0, 2, 1), activation="relu"), torch.randn(1, 2, 5, 5)
    if used:
        layer(x)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert type(twin) is type(layer) is (Conv2D if used else LazyConv2D)
        torch.manual_seed(3)
        y = twin(x)
        if used:
            assert torch.equal(y, layer(x))
        assert type(twin) is Conv2D and twin.activation == "relu" and twin.padding == (1, 0, 2, 1)
        assert torch.equal(y, pyconv.conv2d(x, twin.weight, twin.bias, padding=(1, 0, 2, 1)).relu())


def test_lazy_refusals():
    with pytest.raises(ValueError, match="activation"):
        LazyConv2D(3, 3, activation="tanh")
    with pytest.raises(RuntimeError, match="padding"):
        LazyConv2D(3, 3, padding=(1, 2, 3))
    with pytest.raises(ValueError, match="divisible by groups"):
        LazyConv2D(4, 3, groups=2)(torch.randn(1, 3, 5, 5))
    with pytest.raises(RuntimeError, match=r"Expected 3D \(unbatched\) or 4D .* LazyConv2D"):
        LazyConv2D(4, 3)(torch.randn(5, 5))


def test_convert_knows_lazy_layers():
    net = nn.Sequential(LazyConv2D(4, 3), nn.ReLU(), LazyConv2D(2, 1))
    report = pyconv.convert(net)
    assert report.replaced == report.left == []
    back = pyconv.convert(net, to="torch")
    assert back.left == [
        (name, "LazyConv2D has no weight yet; convert after its first call") for name in ("0", "2")
    ]
    net(torch.randn(1, 3, 5, 5))
    assert pyconv.convert(net, to="torch").replaced == ["0", "2"]
    assert type(net[0]) is nn.Conv2d and net[0].in_channels == 3
