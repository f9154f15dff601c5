"""convert() and use(): models made by others, computed by pyconv."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, prune

import pyconv


class Shifted(nn.Conv2d):
    """A subclass with a mind of its own."""

    def forward(self, input):
        return super().forward(input) + 1


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=2, padding_mode="reflect"), Shifted(4, 4, 1)),
        nn.ConvTranspose2d(4, 2, 2),
    )


def test_layers_change_class_and_nothing_else():
    net = model()
    first, hooked = net[0], []
    first.register_forward_hook(lambda *a: hooked.append(1))
    first.custom = "kept"
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    x = torch.randn(2, 3, 6, 6)
    want = net(x)
    names, before = list(net.state_dict()), [id(p) for p in net.parameters()]
    net.eval()
    report = pyconv.convert(net)
    assert report.model is net
    assert report.replaced == ["0", "2.0"]
    assert report.left == [
        ("2.1", "Shifted is a subclass of Conv2d and may compute something else"),
        ("3", "ConvTranspose2d is not a torch.nn.Conv2d"),
    ]
    assert type(net[0]) is pyconv.Conv2D and net[0] is first and first.custom == "kept"
    assert not first.training
    assert list(net.state_dict()) == names
    assert [id(p) for p in net.parameters()] == before
    assert optimizer.param_groups[0]["params"][0] is net[0].weight
    torch.testing.assert_close(net(x), want)
    assert len(hooked) == 2


def test_report_is_readable():
    report = pyconv.convert(model())
    assert str(report) == "\n".join(
        [
            "to pyconv: 2 replaced, 2 left",
            "  replaced  0",
            "  replaced  2.0",
            "  left      2.1: Shifted is a subclass of Conv2d and may compute something else",
            "  left      3: ConvTranspose2d is not a torch.nn.Conv2d",
        ]
    )
    assert "(the model itself)" in str(pyconv.convert(nn.Conv2d(1, 1, 1)))


def test_there_and_back():
    net = model()
    x = torch.randn(2, 3, 6, 6)
    want, text = net(x), repr(net)
    pyconv.convert(net)
    assert repr(net) != text
    report = pyconv.convert(net, to="torch")
    assert report.replaced == ["0", "2.0"]
    assert report.left == [
        ("2.1", f"{__name__}.Shifted is not a pyconv.Conv2D"),
        ("3", "ConvTranspose2d is not a pyconv.Conv2D"),
    ]
    assert repr(net) == text and type(net[0]) is nn.Conv2d
    assert torch.equal(net(x), want)
    assert pyconv.convert(net, to="torch").replaced == []


def test_twice_is_once():
    net = model()
    pyconv.convert(net)
    again = pyconv.convert(net)
    assert again.replaced == [] and len(again.left) == 2


def test_the_model_may_be_the_layer_and_layers_may_be_shared():
    layer = nn.Conv2d(1, 1, 3)
    assert pyconv.convert(layer).replaced == [""]
    assert type(layer) is pyconv.Conv2D
    shared = nn.Conv2d(2, 2, 1)
    net = nn.ModuleDict({"a": shared, "b": shared})
    assert pyconv.convert(net).replaced == ["a"]
    assert net["b"] is shared and type(net["b"]) is pyconv.Conv2D


@pytest.mark.parametrize(
    "wrap",
    [parametrizations.weight_norm, parametrizations.spectral_norm],
    ids=["weight_norm", "spectral_norm"],
)
def test_parametrizations_stay(wrap):
    net = nn.Sequential(wrap(nn.Conv2d(3, 4, 3))).eval()
    names = list(net.state_dict())
    x = torch.randn(1, 3, 5, 5)
    want = net(x)
    assert pyconv.convert(net).replaced == ["0"]
    assert isinstance(net[0], pyconv.Conv2D) and parametrize.is_parametrized(net[0])
    assert list(net.state_dict()) == names
    torch.testing.assert_close(net(x), want)
    torch.testing.assert_close(copy.deepcopy(net)(x), want)
    net(x).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    parametrize.remove_parametrizations(net[0], "weight")
    assert type(net[0]) is pyconv.Conv2D
    torch.testing.assert_close(net(x), want)


def test_parametrized_there_and_back():
    net = nn.Sequential(parametrizations.weight_norm(nn.Conv2d(3, 4, 3)))
    pyconv.convert(net)
    assert pyconv.convert(net, to="torch").replaced == ["0"]
    assert not isinstance(net[0], pyconv.Conv2D)
    parametrize.remove_parametrizations(net[0], "weight")
    assert type(net[0]) is nn.Conv2d


def test_pruning_stays():
    net = nn.Sequential(nn.Conv2d(3, 4, 3))
    prune.l1_unstructured(net[0], "weight", amount=0.5)
    x = torch.randn(1, 3, 5, 5)
    want = net(x)
    assert pyconv.convert(net).replaced == ["0"]
    torch.testing.assert_close(net(x), want)
    assert (net[0].weight == 0).sum() == 54


@pytest.mark.parametrize(
    "layer, reason",
    [
        (lambda: nn.Conv1d(1, 1, 1), "Conv1d is not a torch.nn.Conv2d"),
        (lambda: nn.ConvTranspose2d(1, 1, 1), "ConvTranspose2d is not a torch.nn.Conv2d"),
        (lambda: nn.LazyConv2d(4, 3), "LazyConv2d has no weight yet; convert after its first call"),
        (lambda: Shifted(1, 1, 1), "Shifted is a subclass of Conv2d and may compute something else"),
        (lambda: nn.Conv2d(1, 1, 1).to(torch.complex32), "dtype torch.complex32 is not supported"),
        (
            lambda: torch.ao.nn.quantized.Conv2d(1, 1, 1),
            "torch.ao.nn.quantized.modules.conv.Conv2d is not a torch.nn.Conv2d",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_what_is_left_and_why(layer, reason):
    net = nn.Sequential(layer())
    kind = type(net[0])
    assert pyconv.convert(net).left == [("0", reason)]
    assert type(net[0]) is kind


def test_own_forward_is_left():
    layer = nn.Conv2d(1, 1, 1)
    layer.forward = lambda x: x
    assert pyconv.convert(layer).left == [("", "its forward was replaced on the instance")]


def test_four_sides_cannot_go_to_torch():
    layer = pyconv.Conv2D(1, 1, 3, padding=(1, 2, 3, 4))
    assert pyconv.convert(layer, to="torch").left == [
        ("", "torch.nn.Conv2d has no padding of four sides, this one has (1, 2, 3, 4)")
    ]


def test_bad_arguments():
    with pytest.raises(ValueError, match='to must be "pyconv" or "torch", got \'cudnn\''):
        pyconv.convert(nn.Conv2d(1, 1, 1), to="cudnn")
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module, got Tensor"):
        pyconv.convert(torch.ones(1))


def test_use_takes_functional_calls():
    x, w = torch.randint(-3, 4, (1, 2, 5, 5)).float(), torch.randint(-3, 4, (3, 2, 3, 3)).float()
    want = F.conv2d(x, w)
    with pyconv.use() as calls:
        assert torch.equal(F.conv2d(x, w), want)
        assert torch.equal(torch.conv2d(x, w, padding="valid"), want)
        assert torch.equal(F.conv2d(input=x, weight=w), want)
        assert torch.equal(nn.Conv2d(2, 3, 3)(x).detach().isnan().any(), torch.tensor(False))
        assert F.relu(x).shape == x.shape
    assert (calls.taken, calls.left) == (4, 0)
    F.conv2d(x, w)
    assert calls.taken == 4


def test_use_leaves_what_it_cannot_do():
    x, w = torch.ones(1, 1, 3, 3, dtype=torch.int32), torch.ones(1, 1, 2, 2, dtype=torch.int32)
    with pyconv.use() as calls:
        assert F.conv2d(x, w).dtype == torch.int32
    assert (calls.taken, calls.left) == (0, 1)


def test_use_nests_and_ends_on_an_error():
    x, w = torch.randn(1, 1, 3, 3), torch.randn(1, 1, 2, 2)
    with pyconv.use() as outer:
        with pytest.raises(RuntimeError), pyconv.use() as inner:
            F.conv2d(x, torch.randn(1, 2, 2, 2))
        F.conv2d(x, w)
    assert inner.taken == 1 and outer.taken == 1
