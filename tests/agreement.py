"""Whether a network computed by pyconv agrees with the same network by torch, and inside which bound.

float64 is the test of meaning. Rounding errors are nothing there (under 1e-13 of a tensor's largest element
in the networks of architectures.py), and whatever is computed at the wrong place is percents off. Every
element has to agree within 1e-10 of its tensor's largest. Some gradients are zero and only rounding errors
are left of them: of the keys' bias in attention, of what a batch norm in training takes away again. Their
size is taken to be that of the network's largest gradient.

float32 and bfloat16 are tests of rounding: here both networks are compared with one in float64, and ours
may be wrong by

    4 * (torch's error) + c * (the tensor's own size),    each as the root of the mean square of the tensor,

with c = 5e-6 in float32, what docs/architecture.md allows one convolution, and 2**-8 in bfloat16, half a
unit in the last place, which storing takes. What a network makes of rounding errors (a batch norm in
training amplifies them, a softmax forgets them) it makes of all convolutions alike, so torch's error measures
it. It is the largest of four runs, in both layouts, with oneDNN and without: each sums in an order of its
own. Without a systematic error ours is one more draw from the same distribution. That matters for tensors of
one or two elements, such as the biases of a squeeze-and-excitation: the error of one run may be next to
nothing there by luck. Winograd's errors are a few times those of a direct sum. The second term is for
tensors in which torch is nearly exact.

A gradient jumps where an element is at the kink of a ReLU or two in the window of a max pool are equal. To
rounding errors that happens: in one pixel of some hundred thousand in float32, of some hundred in bfloat16,
and one is enough to move the gradients of whole channels by more than any bound of use. Which side such an
element falls on is no property of either library. So the kinks are decided once, in torch's first run, and
the others follow it (`Decisions`). In float64 nothing is done about them.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

PRECISIONS = ("float64", "float32", "bfloat16")
AGAINST_TORCH = 4
LAYOUTS = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}
OF_THE_SIZE = {"float32": 5e-6, "bfloat16": 2.0**-8}

Results = dict[str, Tensor]
Call = Callable[[nn.Module], Callable[[Tensor], Tensor]]


def called_as_it_is(model: nn.Module) -> Callable[[Tensor], Tensor]:
    return model


class Decisions(TorchFunctionMode):
    """On which side of its kinks each ReLU is, and which pixels max pools take: recorded, or followed."""

    def __init__(self, taken: list[Tensor] | None = None) -> None:
        super().__init__()
        self.recording = taken is None
        self.taken: list[Tensor] = [] if taken is None else taken
        self.following = iter(self.taken)

    def decide(self, decision: Callable[[], Tensor]) -> Tensor:
        if not self.recording:
            return next(self.following)
        self.taken.append(decision())
        return self.taken[-1]

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in (F.relu, torch.relu):
            x = args[0]
            return torch.where(self.decide(lambda: x > 0), x, 0)
        if func is F.hardtanh:  # a ReLU6 is one
            x, low, high = args[0], kwargs["min_val"], kwargs["max_val"]
            inside = self.decide(lambda: (x > low) & (x < high))
            return torch.where(inside, x, torch.where(self.decide(lambda: x >= high), high, low).to(x.dtype))
        if func is torch.max_pool2d:
            x, options = args[0], {key: value for key, value in kwargs.items() if key != "return_indices"}
            places = self.decide(lambda: F.max_pool2d(*args, **options, return_indices=True)[1])
            return x.flatten(2).gather(2, places.flatten(2)).view(places.shape)
        return func(*args, **kwargs)


def step(
    model: nn.Module,
    images: Tensor,
    *modes: contextlib.AbstractContextManager,
    autocast: bool = False,
    call: Call = called_as_it_is,
) -> Results:
    """One step of a copy of the model: its output, every gradient, and the statistics that it leaves.

    The gradient of the output comes from a fixed seed. `modes` are entered in order, so the last one sees a
    call first. `autocast` is to bfloat16. `call` makes of the copy what is called (a compiled one).
    """
    model = copy.deepcopy(model)
    images = images.detach().clone().requires_grad_()
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.autocast("cpu", torch.bfloat16, enabled=autocast))
        for mode in modes:
            stack.enter_context(mode)
        output = call(model)(images)
    seed = torch.Generator().manual_seed(7)
    output.backward(torch.randn(output.shape, generator=seed).to(output.dtype))
    found = {"output": output.detach(), "gradient of the images": images.grad}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            found[f"gradient of {name}"] = parameter.grad
    return found | {name: buffer for name, buffer in model.named_buffers() if buffer.is_floating_point()}


@dataclass(frozen=True)
class Reference:
    """A step in float64, and what the same step by another library may be wrong by."""

    images: Tensor
    precision: str
    truth: Results
    bounds: dict[str, float]
    decisions: list[Tensor] | None

    def shares(
        self, ours: nn.Module, memory_format: torch.memory_format, call: Call = called_as_it_is
    ) -> dict[str, float]:
        """How much of its bound each tensor of a step of `ours` is wrong by: fine up to 1.

        `ours` has float32 weights, and gets the images, in the memory format. `call` is step's.
        """
        ours = copy.deepcopy(ours).to(memory_format=memory_format)
        images = self.images.contiguous(memory_format=memory_format)
        if self.precision == "float64":
            found = step(ours.double(), images.double(), call=call)
        else:
            autocast = self.precision == "bfloat16"
            found = step(ours, images, Decisions(self.decisions), autocast=autocast, call=call)
        assert found.keys() == self.truth.keys(), found.keys() ^ self.truth.keys()
        size = SIZE[self.precision]
        return {name: share(size(found[name] - self.truth[name]), self.bounds[name]) for name in self.truth}

    def share_of_an_inference(self, ours: nn.Module, memory_format: torch.memory_format) -> float:
        """As `shares`, of the output alone and without gradients: `ours` may have other parameters.

        An output does not jump at a kink, so no decisions are followed.
        """
        ours = copy.deepcopy(ours).to(memory_format=memory_format)
        images = self.images.contiguous(memory_format=memory_format)
        if self.precision == "float64":
            ours, images = ours.double(), images.double()
        autocast = torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bfloat16")
        with torch.no_grad(), autocast:
            error = ours(images) - self.truth["output"]
        return share(SIZE[self.precision](error), self.bounds["output"])


def refer(torchs: nn.Module, images: Tensor, precision: str) -> Reference:
    """The bounds for a network of torch's layers in float32. `precision` "bfloat16" is autocast."""
    doubled, double_images = copy.deepcopy(torchs).double(), images.double()
    if precision == "float64":
        truth = step(doubled, double_images)
        bounds = {name: 1e-10 * size for name, size in sizes(truth, largest_element).items()}
        return Reference(images, precision, truth, bounds, None)
    recorder, runs = Decisions(), []
    for onednn, memory_format in itertools.product((True, False), LAYOUTS.values()):
        model = copy.deepcopy(torchs).to(memory_format=memory_format)
        decisions = Decisions(recorder.taken) if runs else recorder
        # By the context manager: plain assignments are refused once torch's test utilities are imported.
        with torch.backends.mkldnn.flags(enabled=onednn, deterministic=None, allow_tf32=None):
            laid = images.contiguous(memory_format=memory_format)
            runs.append(step(model, laid, decisions, autocast=precision == "bfloat16"))
    truth = step(doubled, double_images, Decisions(recorder.taken))
    bounds = {
        name: AGAINST_TORCH * max(root_mean_square(theirs[name] - truth[name]) for theirs in runs)
        + OF_THE_SIZE[precision] * size
        for name, size in sizes(truth, root_mean_square).items()
    }
    return Reference(images, precision, truth, bounds, recorder.taken)


def sizes(truth: Results, measure: Callable[[Tensor], float]) -> dict[str, float]:
    """The size of each tensor; of a gradient that is zero, the largest gradient's."""
    found = {name: measure(exact) for name, exact in truth.items()}
    largest = max(size for name, size in found.items() if name.startswith("gradient"))
    return {
        name: largest if name.startswith("gradient") and size < 1e-12 * largest else size
        for name, size in found.items()
    }


def largest_element(tensor: Tensor) -> float:
    return tensor.abs().max().item()


def root_mean_square(tensor: Tensor) -> float:
    return tensor.square().mean().sqrt().item()


SIZE = {"float64": largest_element, "float32": root_mean_square, "bfloat16": root_mean_square}


def share(error: float, bound: float) -> float:
    if error == 0:
        return 0.0
    return error / bound if bound > 0 else math.inf
