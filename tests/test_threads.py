"""Calls from several Python threads at once: nothing is shared between them but the plan, which is read."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import problems
import pytest
import torch

from pyconv import _C

TEXTS = (*problems.shapes("groups"), *problems.shapes("tiny"), *problems.shapes("depthwise"))


@pytest.mark.parametrize("pass_", problems.PASSES)
def test_concurrent_calls(pass_: str) -> None:
    """Four threads, each over all problems from another start: every result has the oracle's bits."""
    for text in TEXTS:
        problems.expected(text, torch.float32, pass_)  # the shared cache is filled by one thread

    def all_from(start: int) -> list[tuple[str, str]]:
        order = TEXTS[start:] + TEXTS[:start]
        return [(text, problems.check_exact(text, torch.float32, pass_, "nchw")) for text in order]

    before = sum(_C.executed().values())
    with ThreadPoolExecutor(4) as pool:
        for results in pool.map(all_from, range(0, 4 * (len(TEXTS) // 4), len(TEXTS) // 4)):
            problems.report(results)
    assert sum(_C.executed().values()) - before == 4 * len(TEXTS)


def test_concurrent_backward() -> None:
    """torch runs a backward on the threads that called it, so two at a time meet in the operators."""

    def gradients(seed: int) -> list[torch.Tensor]:
        made = problems.operands("n2_c4_k6_i7_f3_p1_g2", torch.float64)
        x, w = (seed * tensor for tensor in (made.input, made.weight))
        x, w = x.requires_grad_(), w.requires_grad_()
        y = problems.run("forward", x, w, problems.parse("n2_c4_k6_i7_f3_p1_g2", torch.float64))
        return list(torch.autograd.grad(y, (x, w), made.grad_output))

    alone = [gradients(seed) for seed in range(1, 9)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(gradients, range(1, 9)))
    for mine, yours in zip(together, alone, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine, yours, strict=True))
