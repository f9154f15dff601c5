"""The digits CNN of `python -m pyconv demo`, trained by several processes with DistributedDataParallel.

    torchrun --nproc-per-node 2 examples/digits_ddp.py [--epochs 20]

Each process computes on its part of every batch, on the CPU, and gloo averages the gradients. The batches are
the demo's however many processes there are, so only rounding and dropout make the training another one.
It needs pyconv's `demo` extra: `pip install --no-build-isolation ".[demo]"`.
"""

from __future__ import annotations

import argparse
import time

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.nn.parallel import DistributedDataParallel

import pyconv
from pyconv.demo import digits


def train(net: DistributedDataParallel, data: digits.Digits, epochs: int) -> None:
    rank, processes = dist.get_rank(), dist.get_world_size()
    optimizer = torch.optim.Adam(net.parameters())
    batches = -(-len(data.train_labels) // digits.BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=epochs * batches)
    order = torch.Generator().manual_seed(digits.SEED)  # the same in every process
    torch.manual_seed(rank)  # another dropout in each
    net.train()
    for epoch in range(epochs):
        total = torch.zeros(())
        for batch in torch.randperm(len(data.train_labels), generator=order).split(digits.BATCH):
            mine = batch[rank::processes]
            # DistributedDataParallel takes the mean of the processes' gradients. Parts differ in size where a
            # batch does not divide evenly, so each is weighted with its size; the mean is then the batch's.
            loss = F.cross_entropy(net(data.train_images[mine]), data.train_labels[mine], reduction="sum")
            loss = loss * processes / len(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.detach() / (processes * batches)
        dist.all_reduce(total)
        if rank == 0:
            print(f"epoch {epoch + 1}, loss {total:.4f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    epochs = parser.parse_args().epochs

    dist.init_process_group("gloo")  # torchrun says in the environment who and how many
    data = digits.load()
    net = DistributedDataParallel(digits.network(pyconv.Conv2D))
    start = time.perf_counter()
    train(net, data, epochs)
    seconds = time.perf_counter() - start
    if dist.get_rank() == 0:
        right = digits.logits(net.module, data.test_images).argmax(1) == data.test_labels
        print(
            f"{dist.get_world_size()} processes, {epochs} epochs, {seconds:.1f} s: "
            f"{right.double().mean():.2%} of the held-out digits were read right"
        )
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
