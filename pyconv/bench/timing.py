"""Round-robin timing: every entrant takes a sample in turn, so a slow second hits all alike."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import torch

from .cases import Rotation, Tensors
from .clock import Call, Clock, clock_of

T = TypeVar("T")

MIN_SAMPLES = 3
MAX_SAMPLES = 200
# A call that took longer than this when it was checked is not made again: that one time is its sample. Some
# peers take half a minute where others take a hundredth of a second; three more runs would say nothing new.
SLOW_SECONDS = 2.0


def here(work: Callable[[], T]) -> T:
    """Where most entrants run: in the thread that asks."""
    return work()


def cpu_time(work: Callable[[], float]) -> float:
    """A `place` for machines that others use too: seconds that this thread ran, not those that passed.

    Of work in this thread only: torch.set_num_threads(1).
    """
    start = time.thread_time()
    work()
    return time.thread_time() - start


@dataclass
class Entrant:
    """One thing to time: a call, the operands it takes in turn, and the samples so far (seconds a call).

    `place` runs a whole sample, in a thread and under settings of the entrant's own if it needs them.
    """

    call: Call
    rotation: Rotation
    samples: list[float] = field(default_factory=list)
    place: Callable[[Callable[[], float]], float] = here
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


def timed(call: Call, tensors: Tensors, device: str) -> tuple[torch.Tensor, float]:
    """One result, and the seconds it took the first time."""
    clock = clock_of(device)
    clock.synchronize()
    start = time.perf_counter()
    result = call(tensors)
    clock.synchronize()
    seconds = time.perf_counter() - start
    if seconds > SLOW_SECONDS and device != "cpu":
        # A first call on a GPU may have loaded libraries and tried algorithms: that is not its time.
        seconds = clock.read(call, [tensors])
    return result, seconds


def sample(entrant: Entrant, clock: Clock) -> float:
    """Seconds a call, averaged over `repeats` calls on consecutive sets of operands."""
    operands = entrant.rotation.take(entrant.repeats)
    elapsed = entrant.place(lambda: clock.read(entrant.call, operands))
    entrant.spent += elapsed
    return elapsed / entrant.repeats


def warm(entrant: Entrant, clock: Clock, budget: float) -> None:
    """Let caches of code and plans fill, and learn how many calls make a sample worth reading."""
    seconds = sample(entrant, clock)
    if seconds < budget / 4:
        seconds = min(seconds, sample(entrant, clock))
    entrant.repeats = max(1, min(1000, math.ceil(clock.sample_seconds / max(seconds, 1e-9))))
    entrant.spent = 0.0


def round_robin(entrants: list[Entrant], budget: float, device: str) -> None:
    """Fill the samples of every entrant, about `budget` seconds each and at least MIN_SAMPLES.

    Entrants come with the time of their checked call as their only sample. It is kept for a slow one, and
    forgotten for the others: a first call also pays for what later ones find ready.
    """
    clock = clock_of(device)
    collecting = gc.isenabled()
    gc.disable()
    try:
        waiting = [entrant for entrant in entrants if not entrant.slow]
        for entrant in waiting:
            entrant.samples.clear()
            warm(entrant, clock, budget)
        while waiting:
            for entrant in waiting:
                entrant.samples.append(sample(entrant, clock))
            waiting = [entrant for entrant in waiting if not entrant.finished(budget)]
    finally:
        if collecting:
            gc.enable()
