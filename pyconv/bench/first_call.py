"""Run by cold_start.py in a process of its own: prints the seconds of its first and second convolution."""

from __future__ import annotations

import json
import time

import torch

from pyconv import _C

from . import cases
from .peers import pyconv_call, torch_call
from .precision import convolution_precision


def main(who: str, text: str, device: str, precision: str) -> None:
    problem = _C.Problem.parse(text)
    tensors = cases.make(problem, device)
    call = {"pyconv": pyconv_call, "torch": torch_call}[who](problem, "forward")
    synchronize = torch.cuda.synchronize if device.startswith("cuda") else (lambda: None)
    synchronize()
    seconds = []
    with convolution_precision(precision), torch.no_grad():
        for _ in range(2):
            start = time.perf_counter()
            call(tensors)
            synchronize()
            seconds.append(time.perf_counter() - start)
    print(json.dumps({"first_seconds": seconds[0], "second_seconds": seconds[1]}))
