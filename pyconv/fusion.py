"""`fuse`: batch norms and activations of a trained model, folded into the convolutions before them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import fx, nn
from torch.nn.utils import parametrize
from torch.nn.utils.fusion import fuse_conv_bn_weights

from .module import Conv2D


@dataclass
class Fusion:
    """What `fuse` did. str() is one line a layer.

    model: the model that was given, changed in place.
    folded: (convolution, batch norm) by name; the batch norm is a torch.nn.Identity now.
    activated: (convolution, activation) by name; the activation is a torch.nn.Identity now.
    left: (name, reason) of every other torch.nn.BatchNorm2d.
    """

    model: nn.Module
    folded: list[tuple[str, str]] = field(default_factory=list)
    activated: list[tuple[str, str]] = field(default_factory=list)
    left: list[tuple[str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{len(self.folded)} folded, {len(self.activated)} activations, {len(self.left)} left"]
        lines += [f"  folded     {norm} into {convolution}" for convolution, norm in self.folded]
        lines += [f"  activated  {convolution} by {activation}" for convolution, activation in self.activated]
        lines += [f"  left       {name}: {reason}" for name, reason in self.left]
        return "\n".join(lines)


def fuse(model: nn.Module) -> Fusion:
    """Fold what follows the convolutions of a model into them, in place, for inference.

    A torch.nn.BatchNorm2d in eval mode is a multiplication and an addition for each channel, which the weight
    and bias of the convolution before it can do. A ReLU, SiLU or GELU module after a `pyconv.Conv2D`, or
    after its batch norm, becomes that layer's `activation`. Both leave a torch.nn.Identity in their place,
    so the model's own code runs as it did. Convert first: other convolutions take no activations.

    Which module follows which is read off a symbolic trace (torch.fx) of the model, or, where its code cannot
    be traced, of each of its modules that can. What is called as a function (F.relu) stays. So does what
    someone would notice: modules with hooks, weights that traced code reads or that two modules have. (What
    code that cannot be traced reads is not known.)

    Args:
        model: in eval mode. Its parameters and state_dict change: train and save it before.

    Returns:
        Fusion: names of what was folded, and of the batch norms that were left, with the reason for each.

    Raises:
        TypeError: `model` is not a module.
        RuntimeError: `model` is in training mode.

    Source: torch.nn.utils.fusion, which computes the folded weights.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"fuse: model must be a torch.nn.Module, got {type(model).__name__}")
    if model.training:
        raise RuntimeError("fuse: the model is in training mode; call model.eval() first")
    report = Fusion(model)
    places = Counter(id(module) for _, module in model.named_modules(remove_duplicate=False))
    owners = Counter(id(parameter) for module in model.modules() for parameter in module._parameters.values())
    reasons: dict[str, str] = {}
    for chain, read in _chains(model, ""):
        name, convolution = chain[0], model.get_submodule(chain[0])
        for follower in chain[1:]:
            module = model.get_submodule(follower)
            reason = _reason_to_leave(convolution, module) or _watched(model, name, follower)
            if not reason and isinstance(module, nn.BatchNorm2d):
                reason = _weights_in_use(convolution, module, read, owners)
            if max(places[id(convolution)], places[id(module)]) > 1:
                reason = "it, or the convolution before it, is used in several places"
            if reason:
                reasons[follower] = reason
                break
            if isinstance(module, nn.BatchNorm2d):
                _fold(convolution, module)
                report.folded.append((name, follower))
            else:
                convolution.activation = _activation_of(module)
                report.activated.append((name, follower))
            parent, _, own = follower.rpartition(".")
            setattr(model.get_submodule(parent), own, nn.Identity())
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            report.left.append(
                (name, reasons.get(name, "no trace of the model shows a convolution before it"))
            )
    return report


class _Tracer(fx.Tracer):
    """torch.fx's, to which our layers are leaves, as torch.nn's are."""

    proxy_buffer_attributes = True  # reading one is an operation, as of parameters, and not a constant

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, Conv2D) or super().is_leaf_module(m, module_qualified_name)


def _chains(model: nn.Module, prefix: str) -> Iterator[tuple[list[str], set[int]]]:
    """Names of each convolution and of the modules after it, as far as each alone reads the one before.

    With them the ids of the parameters and buffers that the traced code itself reads.
    """
    try:
        graph = _Tracer().trace(model)
    except Exception:  # whatever a model's own code raises when it is run on proxies
        for name, child in model.named_children():
            yield from _chains(child, f"{prefix}{name}.")
        return
    modules = dict(model.named_modules())
    read = {id(_attribute(model, node.target)) for node in graph.nodes if _reads_numbers(node)}
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")

    def module_of(node: fx.Node) -> nn.Module | None:
        return modules[node.target] if node.op == "call_module" and calls[node.target] == 1 else None

    for node in graph.nodes:
        if not isinstance(module_of(node), nn.Conv2d):
            continue
        chain = [node]
        while len(chain[-1].users) == 1:
            follower = next(iter(chain[-1].users))
            if not isinstance(module_of(follower), (nn.BatchNorm2d, nn.ReLU, nn.SiLU, nn.GELU)):
                break
            chain.append(follower)
        yield [prefix + link.target for link in chain], read


def _reads_numbers(node: fx.Node) -> bool:
    """Whether the model's code has this parameter or buffer, and not only for its dtype, say."""
    return node.op == "get_attr" and not all(
        user.target is getattr and user.args[1] in ("device", "dtype", "shape") for user in node.users
    )


def _attribute(model: nn.Module, path: str) -> object:
    parent, _, own = path.rpartition(".")
    return getattr(model.get_submodule(parent), own)


def _reason_to_leave(convolution: nn.Module, follower: nn.Module) -> str:
    """Why `follower` cannot be folded into the convolution before it, or "" if it can."""
    if type(convolution) not in (nn.Conv2d, Conv2D):
        name = type(convolution).__name__
        return f"{name} is a subclass, or has parametrizations, and may compute something else"
    for module in (convolution, follower):
        if parametrize.is_parametrized(module):
            return f"{type(module).__name__} has parametrizations, which would see other numbers"
        if "forward" in vars(module) or "_conv_forward" in vars(module):
            return f"the forward of {type(module).__name__} was replaced on the instance"
    if getattr(convolution, "activation", None) is not None:
        return "there is an activation before it"
    if not isinstance(follower, nn.BatchNorm2d):
        return "" if isinstance(convolution, Conv2D) and _activation_of(follower) else "no kernel has it"
    if type(follower) is not nn.BatchNorm2d:
        return f"{type(follower).__name__} is a subclass of BatchNorm2d and may compute something else"
    if follower.training or follower.running_mean is None:
        return "it takes its statistics from each batch"
    if follower.running_mean.dtype != convolution.weight.dtype:
        return f"its statistics are {follower.running_mean.dtype}, the weight is {convolution.weight.dtype}"
    return ""


def _watched(model: nn.Module, convolution: str, follower: str) -> str:
    """Why hooks forbid it, or "": those of a module that has one of the two in it, and not the other."""
    for name in sorted(_holders(convolution) ^ _holders(follower)):
        module = model.get_submodule(name)
        if (
            module._forward_hooks
            or module._forward_pre_hooks
            or module._backward_hooks
            or module._backward_pre_hooks
        ):
            return f"{type(module).__name__} {name} has hooks, which would see other numbers"
    return ""


def _holders(name: str) -> set[str]:
    """The names of a module and of all that it is in."""
    parts = name.split(".")
    return {".".join(parts[:count]) for count in range(1, len(parts) + 1)}


def _weights_in_use(convolution: nn.Module, norm: nn.Module, read: set[int], owners: Counter[int]) -> str:
    """Why new weights would be noticed, or ""."""
    weights = list(convolution.parameters())
    if any(id(tensor) in read for tensor in (*weights, *norm.parameters(), *norm.buffers())):
        return "the model's code reads its numbers, or those of the convolution before it"
    if any(owners[id(weight)] > 1 for weight in weights):
        return "another module has a weight of the convolution before it"
    return ""


def _activation_of(module: nn.Module) -> str | None:
    if type(module) is nn.GELU:
        return "gelu" if module.approximate == "none" else None
    return {nn.ReLU: "relu", nn.SiLU: "silu"}.get(type(module))


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    convolution.weight, convolution.bias = fuse_conv_bn_weights(
        convolution.weight,
        convolution.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
