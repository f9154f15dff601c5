"""Round-robin timing: every entrant takes a sample in turn, so a slow second hits all alike."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from .cases import Rotation, Tensors
from .peers import Call

# A sample shorter than this is repeated inside one reading of the clock, whose own cost would show otherwise.
SAMPLE_SECONDS = 100e-6
MIN_SAMPLES = 3
MAX_SAMPLES = 200
# A call that took longer than this when it was checked is not made again: that one time is its sample. Some
# peers take half a minute where others take a hundredth of a second; three more runs would say nothing new.
SLOW_SECONDS = 2.0


@dataclass
class Entrant:
    """One thing to time: a call, the operands it takes in turn, and the samples so far (seconds a call)."""

    call: Call
    rotation: Rotation
    samples: list[float] = field(default_factory=list)
    spent: float = 0.0
    repeats: int = 1

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def slow(self) -> bool:
        return bool(self.samples) and self.samples[0] > SLOW_SECONDS

    def finished(self, budget: float) -> bool:
        count = len(self.samples)
        return count >= MAX_SAMPLES or (count >= MIN_SAMPLES and self.spent >= budget)


def synchronizer(device: str) -> Callable[[], None]:
    return torch.cuda.synchronize if device.startswith("cuda") else (lambda: None)


def timed(call: Call, tensors: Tensors, device: str) -> tuple[torch.Tensor, float]:
    """One result, and the seconds it took the first time."""
    synchronize = synchronizer(device)
    synchronize()
    start = time.perf_counter()
    result = call(tensors)
    synchronize()
    return result, time.perf_counter() - start


def sample(entrant: Entrant, synchronize: Callable[[], None]) -> float:
    """Seconds a call, averaged over `repeats` calls on consecutive sets of operands."""
    operands = entrant.rotation.take(entrant.repeats)
    call = entrant.call
    synchronize()
    start = time.perf_counter()
    for tensors in operands:
        call(tensors)
    synchronize()
    elapsed = time.perf_counter() - start
    entrant.spent += elapsed
    return elapsed / entrant.repeats


def warm(entrant: Entrant, synchronize: Callable[[], None], budget: float) -> None:
    """Let caches of code and plans fill, and learn how many calls make a sample worth reading."""
    seconds = sample(entrant, synchronize)
    if seconds < budget / 4:
        seconds = min(seconds, sample(entrant, synchronize))
    entrant.repeats = max(1, min(1000, math.ceil(SAMPLE_SECONDS / max(seconds, 1e-9))))
    entrant.spent = 0.0


def round_robin(entrants: list[Entrant], budget: float, device: str) -> None:
    """Fill the samples of every entrant, about `budget` seconds each and at least MIN_SAMPLES.

    Entrants come with the time of their checked call as their only sample. It is kept for a slow one, and
    forgotten for the others: a first call also pays for what later ones find ready.
    """
    synchronize = synchronizer(device)
    collecting = gc.isenabled()
    gc.disable()
    try:
        waiting = [entrant for entrant in entrants if not entrant.slow]
        for entrant in waiting:
            entrant.samples.clear()
            warm(entrant, synchronize, budget)
        while waiting:
            for entrant in waiting:
                entrant.samples.append(sample(entrant, synchronize))
            waiting = [entrant for entrant in waiting if not entrant.finished(budget)]
    finally:
        if collecting:
            gc.enable()
