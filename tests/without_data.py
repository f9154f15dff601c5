"""Tensors without data (meta, fake, symbolic) and whether they are refused what tensors with data are."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator

import pytest
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext

WITHOUT_DATA = ("meta", "fake", "symbolic")


@contextlib.contextmanager
def without_data(kind: str) -> Iterator[Callable[[Tensor], Tensor]]:
    """What makes a tensor without data of a tensor: on the meta device, fake, or fake with unknown sizes."""
    if kind == "meta":
        yield lambda tensor: tensor.to("meta")
        return
    size = DimDynamic.DYNAMIC if kind == "symbolic" else DimDynamic.STATIC
    with FakeTensorMode(shape_env=ShapeEnv()) as mode:
        yield lambda tensor: mode.from_tensor(
            tensor, symbolic_context=StatelessSymbolicContext(dynamic_sizes=[size] * tensor.dim())
        )


def refusal(function: Callable, *arguments, **keywords) -> tuple[type, str]:
    with pytest.raises((RuntimeError, ValueError)) as caught:
        function(*arguments, **keywords)
    return type(caught.value), str(caught.value)


def assert_same_refusal(kind: str, function: Callable, *arguments, **keywords) -> None:
    """Without data `function` raises what it raises with data, the names of the tensor types apart.

    Of unknown sizes a message shows expressions: there only its first words have to be the same.
    """
    want, message = refusal(function, *arguments, **keywords)
    with without_data(kind) as made:
        got, their_message = refusal(
            function,
            *(made(value) if isinstance(value, Tensor) else value for value in arguments),
            **{name: made(v) if isinstance(v, Tensor) else v for name, v in keywords.items()},
        )
    messages = [
        re.sub(r"torch\.(\w+)Tensor|Meta(\w+)Type", r"\1\2", text) for text in (message, their_message)
    ]
    messages = [text.splitlines()[0] for text in messages]
    if kind == "symbolic":
        messages = [re.findall(r"\b[A-Za-z_]{2,}\b", text)[:5] for text in messages]
        assert len(messages[0]) >= 4
    assert messages[1] == messages[0] and got is want
