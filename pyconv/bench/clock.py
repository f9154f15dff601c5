"""What a batch of calls took: wall clock on the CPU, events in the stream on CUDA."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Protocol

import torch

from .cases import Tensors

Call = Callable[[Tensors], torch.Tensor]


class Clock(Protocol):
    # A sample shorter than this is repeated inside one reading, whose own cost would show otherwise.
    sample_seconds: float

    def synchronize(self) -> None:
        """Returns when the device has done all that it was asked to."""

    def read(self, call: Call, operands: Iterable[Tensors]) -> float:
        """Seconds of a call on each of the operands in turn, all of them together."""


class WallClock:
    sample_seconds = 100e-6

    def synchronize(self) -> None:
        pass

    def read(self, call: Call, operands: Iterable[Tensors]) -> float:
        start = time.perf_counter()
        for tensors in operands:
            call(tensors)
        return time.perf_counter() - start


class EventClock:
    """Two events around the batch. The device is idle before it, so the first launch shows, a few
    microseconds; a millisecond of calls makes that about a hundredth. Where launching takes longer than
    computing, the time is that of launching: calls in a row as a program makes them, not a captured graph.
    """

    sample_seconds = 1e-3

    def synchronize(self) -> None:
        torch.cuda.synchronize()

    def read(self, call: Call, operands: Iterable[Tensors]) -> float:
        torch.cuda.synchronize()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for tensors in operands:
            call(tensors)
        end.record()
        end.synchronize()
        return start.elapsed_time(end) * 1e-3


def clock_of(device: str) -> Clock:
    return EventClock() if device.startswith("cuda") else WallClock()
