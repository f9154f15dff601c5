"""Existing models: `convert` changes their layers, `use` changes what their calls of F.conv2d reach."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode

from .functional import conv2d
from .module import Conv2D, LazyConv2D

_DTYPES = (
    torch.float32,
    torch.float64,
    torch.bfloat16,
    torch.float16,
    torch.complex64,
    torch.complex128,
    torch.int64,
)
_DEVICES = ("cpu", "cuda", "meta")


@dataclass
class Conversion:
    """What `convert` did. str() is one line a layer.

    model: the model that was given, changed in place.
    replaced: names of the layers that are of the other class now ("" is the model itself).
    left: (name, reason) of every other convolution in the model.
    """

    model: nn.Module
    to: str
    replaced: list[str] = field(default_factory=list)
    left: list[tuple[str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"to {self.to}: {len(self.replaced)} replaced, {len(self.left)} left"]
        lines += [f"  replaced  {name or '(the model itself)'}" for name in self.replaced]
        lines += [f"  left      {name or '(the model itself)'}: {reason}" for name, reason in self.left]
        return "\n".join(lines)


def convert(model: nn.Module, to: str = "pyconv") -> Conversion:
    """Make every `torch.nn.Conv2d` in `model` a `pyconv.Conv2D`, in place; or back, with to="torch".

    A layer changes its class and nothing else. It stays the same object: parameters (and so optimizers that
    hold them), buffers, hooks, parametrizations, pruning masks, device, dtype, training flag, attributes,
    sharing and its place in the model are what they were, and it works where the model is itself the layer. A
    rebuilt layer would have to copy all of these, and would miss some.

    Calls of F.conv2d in a model's own code are not layers: `pyconv.use()` reaches those.

    Args:
        model: any module.
        to: "pyconv" or "torch".

    Returns:
        Conversion: names replaced, and names left with the reason for each.

    Raises:
        ValueError: another `to`.
        TypeError: `model` is not a module.
    """
    if to not in ("pyconv", "torch"):
        raise ValueError(f'convert: to must be "pyconv" or "torch", got {to!r}')
    if not isinstance(model, nn.Module):
        raise TypeError(f"convert: model must be a torch.nn.Module, got {type(model).__name__}")
    source, target = (nn.Conv2d, Conv2D) if to == "pyconv" else (Conv2D, nn.Conv2d)
    there = (Conv2D, LazyConv2D) if to == "pyconv" else (nn.Conv2d,)
    report = Conversion(model, to)
    for name, module in model.named_modules():
        if not _is_convolution(module) or _plain_class(module) in there:
            continue
        reason = _reason_to_leave(module, source)
        if reason:
            report.left.append((name, reason))
        else:
            _change_class(module, target)
            report.replaced.append(name)
    return report


def _is_convolution(module: nn.Module) -> bool:
    """Whether a reader of the report would look for this module in it."""
    return isinstance(module, nn.modules.conv._ConvNd) or "Conv2d" in type(module).__name__


def _plain_class(module: nn.Module) -> type:
    """The module's class, seen through the one that torch.nn.utils.parametrize puts before it."""
    return type(module).__bases__[0] if parametrize.is_parametrized(module) else type(module)


def _reason_to_leave(module: nn.Module, source: type) -> str:
    """Why this convolution cannot change its class, or "" if it can."""
    plain = _plain_class(module)
    if isinstance(module, torch.jit.ScriptModule):
        return "compiled by TorchScript; convert before scripting"
    if not isinstance(module, source):
        name = (
            plain.__name__
            if plain.__module__.startswith("torch.nn.")
            else f"{plain.__module__}.{plain.__name__}"
        )
        return f"{name} is not a {'torch.nn.Conv2d' if source is nn.Conv2d else 'pyconv.Conv2D'}"
    if nn.parameter.is_lazy(module.weight):
        return f"{plain.__name__} has no weight yet; convert after its first call"
    if plain is not source:
        return f"{plain.__name__} is a subclass of {source.__name__} and may compute something else"
    if "forward" in vars(module) or "_conv_forward" in vars(module):
        return "its forward was replaced on the instance"
    if source is nn.Conv2d:
        if module.weight.dtype not in _DTYPES:
            return f"dtype {module.weight.dtype} is not supported"
        if module.weight.device.type not in _DEVICES:
            return f"device {module.weight.device.type} is not supported"
        if module.weight.layout != torch.strided:
            return f"weight layout {module.weight.layout} is not supported"
    elif module.activation is not None:
        return f"torch.nn.Conv2d has no activation, this one has {module.activation}"
    elif not isinstance(module.padding, str) and len(module.padding) == 4:
        return f"torch.nn.Conv2d has no padding of four sides, this one has {tuple(module.padding)}"
    return ""


def _change_class(module: nn.Module, target: type) -> None:
    if not parametrize.is_parametrized(module):
        module.__class__ = target
        return
    # torch gives each parametrized module a class of its own, whose properties compute the parameters. The
    # new one has the same properties over the other base, so that removing the parametrizations finds that
    # base.
    old = type(module)
    body = {
        name: value for name, value in vars(old).items() if name not in ("__dict__", "__weakref__", "__doc__")
    }
    module.__class__ = type(f"Parametrized{target.__name__}", (target,), body)


class use(TorchFunctionMode):
    """Context manager: F.conv2d (torch.conv2d) inside it, in anyone's code, is computed by pyconv.

        with pyconv.use() as calls:
            model(images)
        print(calls.taken, calls.left)

    Calls on what pyconv has no kernels for (integer dtypes other than int64, other devices, sparse or
    quantized tensors) go to torch as before, and are counted.

    Attributes:
        taken: calls computed by pyconv.
        left: calls left to torch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.taken = 0
        self.left = 0

    def __enter__(self) -> use:
        super().__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.conv2d:
            input = args[0] if args else kwargs.get("input")
            if _has_kernels(input):
                self.taken += 1
                return conv2d(*args, **kwargs)
            self.left += 1
        return func(*args, **kwargs)


def _has_kernels(input: object) -> bool:
    # Anything that is not a tensor is an error, and ours is as good as torch's.
    return not isinstance(input, Tensor) or (
        input.dtype in _DTYPES and input.device.type in _DEVICES and input.layout == torch.strided
    )
