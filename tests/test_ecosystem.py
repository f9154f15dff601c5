"""What torch offers around a layer works around ours as around torch's: data are integers, results equal."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable

import problems
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, prune
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

import pyconv

LAYER = {"stride": (2, 1), "padding": (1, 2), "groups": 2}


def integers(*size: int, seed: str = "") -> Tensor:
    return torch.randint(-3, 4, size, generator=problems.generator(seed + str(size))).double()


def with_integers(model: nn.Module) -> nn.Module:
    for name, parameter in model.named_parameters():
        parameter.data = integers(*parameter.shape, seed=name)
    return model


def pair() -> tuple[nn.Module, nn.Module]:
    """Two convolutions with a ReLU between them, ours and torch's, of the same integers."""

    def made(kind: type[nn.Conv2d]) -> nn.Module:
        return with_integers(nn.Sequential(kind(2, 4, 3, padding=1), nn.ReLU(), kind(4, 6, 3, **LAYER)))

    return made(pyconv.Conv2D), made(nn.Conv2d)


def step(model: nn.Module, x: Tensor, call: Callable[[Tensor], Tensor] | None = None) -> list[Tensor]:
    """Output, gradient of the input, gradients of the parameters."""
    x = x.clone().requires_grad_()
    model.zero_grad()
    y = (call or model)(x)
    y.square().sum().backward()
    return [y.detach(), x.grad, *(parameter.grad for parameter in model.parameters())]


def same(mine: list[Tensor], yours: list[Tensor]) -> None:
    assert len(mine) == len(yours)
    for a, b in zip(mine, yours, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_activation_checkpointing(use_reentrant: bool) -> None:
    ours, theirs = pair()
    x = integers(2, 2, 6, 5)
    calls = []
    ours.register_forward_pre_hook(lambda *_: calls.append(1))
    got = step(ours, x, lambda x: checkpoint(ours, x, use_reentrant=use_reentrant))
    same(got, step(theirs, x))
    assert len(calls) == 2


def test_no_grad_and_inference_mode() -> None:
    ours, theirs = pair()
    x = integers(2, 2, 6, 5).requires_grad_()
    with torch.no_grad():
        y = ours(x)
        assert not y.requires_grad and torch.equal(y, theirs(x))
    with torch.inference_mode():
        y = ours(x)
        assert y.is_inference() and torch.equal(y, theirs(x))
        with pyconv.use() as calls:
            assert torch.equal(theirs(x), y) and calls.taken == 2
    assert ours(x).requires_grad
    for model in (ours, theirs):
        with pytest.raises(RuntimeError, match="Inference tensors cannot be saved for backward"):
            model(y[:, :2])


def test_hooks() -> None:
    """Forward and backward hooks, their changes included, and hooks on the parameters."""
    seen: dict[type, list] = {}
    results = []
    for model in pair():
        kind, log = type(model[0]), seen.setdefault(type(model[0]), [])
        first, last = model[0], model[2]
        first.register_forward_pre_hook(lambda module, inputs: (2 * inputs[0],))
        first.register_forward_hook(lambda module, inputs, output: output + 1)
        last.register_full_backward_pre_hook(lambda module, grad: (3 * grad[0],))
        last.register_full_backward_hook(lambda module, before, after, log=log: log.extend(before + after))
        first.weight.register_hook(lambda grad: grad - 1)
        first.bias.register_post_accumulate_grad_hook(lambda p, log=log: log.append(p.grad.clone()))
        results.append(step(model, integers(2, 2, 6, 5)))
        assert len(seen[kind]) == 3
    same(*results)
    same(*seen.values())


def test_save_and_load() -> None:
    ours, theirs = pair()
    file = io.BytesIO()
    torch.save(ours.state_dict(), file)
    file.seek(0)
    theirs.load_state_dict(torch.load(file, weights_only=True))
    x = integers(1, 2, 6, 5)
    assert torch.equal(theirs(x), ours(x))
    file = io.BytesIO()
    torch.save(ours, file)
    file.seek(0)
    whole = torch.load(file, weights_only=False)
    assert type(whole[0]) is pyconv.Conv2D and torch.equal(whole(x), ours(x))
    with torch.serialization.safe_globals([nn.Sequential, nn.ReLU, pyconv.Conv2D, set]):
        file.seek(0)
        assert torch.equal(torch.load(file, weights_only=True)(x), ours(x))
    fresh = pyconv.Conv2D(2, 4, 3, dtype=torch.float64)
    fresh.load_state_dict(ours[0].state_dict(), assign=True)
    assert fresh.weight.data_ptr() == ours[0].weight.data_ptr()


@pytest.mark.parametrize("wrap", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_parametrizations(wrap) -> None:
    """The weights are computed by torch in both layers, so that one convolution gets the same bits twice."""
    torch.manual_seed(0)
    ours, theirs = (wrap(with_integers(kind(2, 4, 3))).eval() for kind in (pyconv.Conv2D, nn.Conv2d))
    assert isinstance(ours, pyconv.Conv2D)
    theirs.load_state_dict(ours.state_dict())
    x = integers(1, 2, 5, 6)
    assert torch.equal(ours.weight, theirs.weight)
    assert torch.equal(ours(x), pyconv.conv2d(x, theirs.weight, theirs.bias))
    ours(x).sum().backward()
    assert all(parameter.grad is not None for parameter in ours.parameters())
    # Copies keep the parametrization (pickle refuses one, of torch's layers too).
    assert torch.equal(copy.deepcopy(ours)(x), ours(x))
    parametrize.remove_parametrizations(ours, "weight")
    assert type(ours) is pyconv.Conv2D and torch.equal(ours(x), pyconv.conv2d(x, theirs.weight, theirs.bias))


@pytest.mark.parametrize("layout", problems.LAYOUTS)
@pytest.mark.parametrize("wrap", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_training_with_parametrizations(wrap, layout: str) -> None:
    """Steps in train mode, in which spectral_norm also changes its buffers: everything as by torch's layer.

    The weights are no integers here, so sums round, of float64: at most 120 products a sum are an error of
    under 120 * 2^-53 of their absolute values, 1.4e-14, in each of the eight sums behind a gradient. Between
    the layers is no ReLU, whose gradient would jump where rounding decides a sign.
    """
    results = []
    for kind in (pyconv.Conv2D, nn.Conv2d):
        torch.manual_seed(0)
        model = nn.Sequential(kind(2, 4, 3, padding=1), nn.Tanh(), kind(4, 6, 3, **LAYER)).double().train()
        for layer in (model[0], model[2]):
            wrap(layer)
        optimizer = torch.optim.SGD(model.parameters(), lr=2**-12)
        found: list[Tensor] = []
        for number in range(3):
            x = problems.in_layout(integers(2, 2, 6, 5, seed=str(number)), layout)
            found += step(model, x)
            optimizer.step()
        results.append([*found, *model.state_dict().values()])
        assert len(found) == 3 * (2 + len(list(model.parameters())))
        assert not torch.equal(found[3], found[3 + len(found) // 3])
    for mine, yours in zip(*results, strict=True):
        torch.testing.assert_close(mine, yours, rtol=1e-12, atol=1e-12 * float(yours.abs().max()))


@pytest.mark.parametrize("name", ["relu", "silu", "gelu"])
def test_copies_of_a_layer_with_an_activation(name: str) -> None:
    """By deepcopy, pickle and torch.save; the activation is the layer's own, not its state's."""
    layer = with_integers(pyconv.Conv2D(2, 4, 3, activation=name, dtype=torch.float64))
    x = integers(1, 2, 5, 6)
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    copies = (
        copy.deepcopy(layer),
        copy.copy(layer),
        pickle.loads(pickle.dumps(layer)),
        torch.load(file, weights_only=False),
    )
    for twin in copies:
        assert type(twin) is pyconv.Conv2D and twin.activation == name and repr(twin) == repr(layer)
        same(step(twin, x), step(layer, x))
    plain = pyconv.Conv2D(2, 4, 3, dtype=torch.float64)
    assert list(layer.state_dict()) == list(plain.state_dict()) == ["weight", "bias"]
    plain.load_state_dict(layer.state_dict())
    assert plain.activation is None and torch.equal(getattr(F, name)(plain(x)), layer(x))
    other = pyconv.Conv2D(2, 4, 3, activation="relu", dtype=torch.float64)
    other.load_state_dict(nn.Conv2d(2, 4, 3, dtype=torch.float64).state_dict() | plain.state_dict())
    assert other.activation == "relu" and torch.equal(other(x), plain(x).relu())


def test_pruning() -> None:
    ours, theirs = pair()
    x = integers(2, 2, 6, 5)
    for model in (ours, theirs):
        prune.ln_structured(model[2], "weight", amount=0.5, n=1, dim=0)
        prune.l1_unstructured(model[0], "weight", amount=0.25)
    same(step(ours, x), step(theirs, x))
    assert (ours[2].weight_orig.grad[ours[2].weight_mask == 0] == 0).all()
    prune.remove(ours[0], "weight")
    assert torch.equal(ours(x), theirs(x)) and type(ours[0]) is pyconv.Conv2D


def test_lazy_layers_are_converted_after_their_first_call() -> None:
    model = nn.Sequential(nn.LazyConv2d(4, 3, dtype=torch.float64))
    assert not pyconv.convert(model).replaced
    x = integers(2, 3, 6, 5)
    model(x)
    with_integers(model)
    want = model(x)
    assert pyconv.convert(model).replaced == ["0"]
    assert type(model[0]) is pyconv.Conv2D and torch.equal(model(x), want)


def test_skip_init_and_to_empty() -> None:
    x = integers(2, 2, 6, 5)
    skipped = with_integers(torch.nn.utils.skip_init(pyconv.Conv2D, 2, 4, 3, **LAYER, dtype=torch.float64))
    assert not skipped.weight.is_meta and skipped.stride == (2, 1)
    with torch.device("meta"):
        model = nn.Sequential(pyconv.Conv2D(2, 4, 3, **LAYER, dtype=torch.float64))
    assert model[0].weight.is_meta and model(x.to("meta")).shape == skipped(x).shape
    model.to_empty(device="cpu")
    model[0].load_state_dict(skipped.state_dict())
    assert torch.equal(model(x), skipped(x))
    model[0].reset_parameters()
    assert model[0].weight.isfinite().all()


@pytest.mark.parametrize("of_weight", problems.LAYOUTS)
@pytest.mark.parametrize("of_input", problems.LAYOUTS)
def test_gradients_have_the_strides_of_their_parameters(of_input: str, of_weight: str) -> None:
    model, _ = pair()
    for layer in (model[0], model[2]):
        layer.weight.data = problems.in_layout(layer.weight.data, of_weight)
    x = problems.in_layout(integers(2, 2, 6, 5), of_input).requires_grad_()
    for times in (1, 2):  # the second time gradients are added to what is there
        model(x).square().sum().backward()
        for layer in (model[0], model[2]):
            assert layer.weight.grad.stride() == layer.weight.stride(), f"backward {times}"
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.5)
    optimizer.step()
    state = optimizer.state[model[0].weight]
    assert state["momentum_buffer"].stride() == model[0].weight.stride()


@pytest.mark.parametrize("of_weight", problems.LAYOUTS)
@pytest.mark.parametrize("of_input", problems.LAYOUTS)
def test_gradients_of_parameters_are_kept_as_they_come(of_input: str, of_weight: str) -> None:
    """autograd copies a gradient of other strides than its parameter's."""
    x = problems.in_layout(integers(2, 4, 6, 7), of_input)
    w = problems.in_layout(integers(5, 4, 3, 3), of_weight).requires_grad_()
    dy = problems.in_layout(integers(2, 5, 4, 5), of_input)
    y = pyconv.conv2d(x, w)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        y.backward(dy)
    counts = {event.key: event.count for event in profile.key_averages()}
    assert counts["pyconv::conv2d_grad_weight"] == 1 and w.grad.stride() == w.stride()
    assert not counts.keys() & {"aten::copy_", "aten::clone", "aten::contiguous"}, counts


def test_profiler_names() -> None:
    model, _ = pair()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        step(model, integers(2, 2, 6, 5))
    counts = {event.key: event.count for event in profile.key_averages()}
    assert counts["pyconv::conv2d"] == 2
    assert counts["pyconv::conv2d_grad_input"] == counts["pyconv::conv2d_grad_weight"] == 2


@pytest.mark.parametrize(("name", "training"), [("relu", True), ("gelu", True), ("gelu", False)])
def test_profiler_name_with_an_activation(name: str, training: bool) -> None:
    """One operator, but where a gradient needs what the activation was applied to: there torch's follows."""
    layer = pyconv.Conv2D(2, 4, 3, activation=name, dtype=torch.float64).requires_grad_(training)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        y = layer(integers(2, 2, 6, 5))
        if training:
            y.sum().backward()
    counts = {event.key: event.count for event in profile.key_averages()}
    two_calls = training and name != "relu"
    assert counts["pyconv::conv2d_activated"] == 1
    assert ("pyconv::conv2d" in counts) == two_calls
    assert (f"aten::{name}" in counts) == two_calls
    assert counts.get("pyconv::conv2d_grad_weight", 0) == training
    if training:
        node = "PyconvConv2dReluBackward" if name == "relu" else "PyconvConv2dBackward"
        assert any(node in key for key in counts)


def test_deterministic_algorithms() -> None:
    """Nothing to refuse and nothing to change: the bits are those of every other run."""
    model, _ = pair()
    x = integers(2, 2, 6, 5)
    want = step(model, x)
    torch.use_deterministic_algorithms(True)
    try:
        same(step(model, x), want)
        pyconv.conv_transpose2d(x, integers(2, 3, 3, 3), stride=2)
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("layer", [0, 2], ids=["dense", "grouped"])
def test_flop_counter_counts_as_it_does_for_torch(layer: int) -> None:
    """But for the weight gradient of several groups, where torch 2.13 counts more products than there are."""
    counts = []
    for model in (model[layer] for model in pair()):
        with FlopCounterMode(display=False) as counter:
            y = model(integers(2, model.in_channels, 6, 5).requires_grad_())
        forward = counter.get_total_flops()
        with FlopCounterMode(display=False) as counter:
            y.sum().backward()
        counts.append((forward, counter.get_total_flops()))
    ours, theirs = counts
    assert ours[0] == theirs[0] and ours[1] == 2 * ours[0]
    assert ours[1] == theirs[1] or model.groups > 1


def test_functional_call() -> None:
    ours, theirs = pair()
    x = integers(2, 2, 6, 5)
    doubled = {name: 2 * parameter.detach() for name, parameter in ours.named_parameters()}
    got = torch.func.functional_call(ours, doubled, (x,))
    assert torch.equal(got, torch.func.functional_call(theirs, doubled, (x,)))
    assert not torch.equal(got, ours(x))


def test_ensemble_of_models() -> None:
    """torch.func.stack_module_state: one vmap over the models, then over models and inputs together."""
    models = [pair()[0] for _ in range(3)]
    for index, model in enumerate(models):
        for parameter in model.parameters():
            parameter.data += index
    parameters, buffers = torch.func.stack_module_state(models)
    skeleton = copy.deepcopy(models[0]).to("meta")

    def one(parameters: dict, buffers: dict, x: Tensor) -> Tensor:
        return torch.func.functional_call(skeleton, (parameters, buffers), (x,))

    x = integers(3, 2, 2, 6, 5)
    shared = torch.vmap(one, in_dims=(0, 0, None))(parameters, buffers, x[0])
    assert torch.equal(shared, torch.stack([model(x[0]) for model in models]))
    together = torch.vmap(one)(parameters, buffers, x)
    assert torch.equal(together, torch.stack([model(part) for model, part in zip(models, x, strict=True)]))


@pytest.mark.parametrize("transform", ["jvp", "hessian", "jacrev", "jacfwd"])
def test_derivatives_of_a_layer(transform: str) -> None:
    x, tangent = integers(1, 2, 4, 5), integers(4, 1, 3, 3, seed="t")

    def of(conv2d):
        if transform == "jvp":
            return torch.func.jvp(lambda w: conv2d(x, w, **LAYER).square(), (w,), (tangent,))[1]
        if transform == "hessian":
            return torch.func.hessian(lambda w: conv2d(x, w, **LAYER).square().sum())(w)
        return getattr(torch.func, transform)(lambda x: conv2d(x, w, **LAYER).square())(x)

    w = integers(4, 1, 3, 3)
    assert torch.equal(of(pyconv.conv2d), of(F.conv2d))


def test_per_sample_gradients_of_a_model() -> None:
    ours, theirs = pair()
    x = integers(3, 2, 6, 5)

    def loss(parameters: dict, image: Tensor) -> Tensor:
        return torch.func.functional_call(ours, parameters, (image[None],)).square().sum()

    parameters = {name: parameter.detach() for name, parameter in ours.named_parameters()}
    together = torch.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, x)
    for index in range(len(x)):
        _, _, *alone = step(theirs, x[index : index + 1])
        same([gradient[index] for gradient in together.values()], alone)
