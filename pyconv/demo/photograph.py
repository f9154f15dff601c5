"""Edges of scikit-learn's two sample photographs: corr2d, conv2d and the kernels of pyconv.filters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib
import torch
import torch.nn.functional as F
from sklearn.datasets import load_sample_image
from torch import Tensor
from tqdm import tqdm

import pyconv
from pyconv import filters

matplotlib.use("Agg")  # a file is written; no display is needed
from matplotlib import pyplot

PHOTOGRAPHS = ("china", "flower")
LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601
TOLERANCE = 1e-5  # pixels lie in [0, 1] and the largest sum of a kernel's magnitudes is 8


@dataclass(frozen=True)
class Panel:
    title: str
    image: Tensor
    signed: bool = False


def load(name: str) -> Tensor:
    """A photograph as (3, H, W) in [0, 1]."""
    return torch.tensor(load_sample_image(f"{name}.jpg")).permute(2, 0, 1).float() / 255


def magnitude(image: Tensor) -> Tensor:
    """Sobel magnitude of every channel of (C, H, W): both directions in one depthwise convolution."""
    channels = image.shape[0]
    pair = torch.stack([filters.sobel(axis=1), filters.sobel(axis=0)]).unsqueeze(1)
    weight = pair.repeat(channels, 1, 1, 1)
    # Edges of the frame itself are not edges of the picture: the border repeats the last pixel.
    gradients = pyconv.conv2d(image, weight, padding=1, groups=channels, padding_mode="replicate")
    return gradients.unflatten(0, (channels, 2)).square().sum(1).sqrt()


def panels(photograph: Tensor) -> list[Panel]:
    weights = torch.tensor(LUMINANCE).view(1, 3, 1, 1)
    gray = pyconv.conv2d(photograph, weights)[0]  # a 1x1 kernel over three channels
    smooth = pyconv.corr2d(gray, filters.gaussian(7, 1.2))
    return [
        Panel("the photograph", photograph),
        Panel("vertical edges: (1, -1)", pyconv.corr2d(gray, filters.derivative(axis=1)), signed=True),
        Panel(
            "horizontal edges: its transpose", pyconv.corr2d(gray, filters.derivative(axis=0)), signed=True
        ),
        Panel("Laplacian of the smoothed image", pyconv.corr2d(smooth, filters.laplacian()), signed=True),
        Panel("Sobel magnitude", magnitude(gray[None])[0]),
        Panel("Sobel magnitude of each colour", magnitude(photograph)),
    ]


def largest_difference(photograph: Tensor) -> float:
    """Between pyconv's filters and torch's own convolution on the same pixels."""
    gray = photograph.mean(0)
    kernels = [filters.derivative(axis=1), filters.derivative(axis=0), filters.laplacian(), filters.sobel()]
    return max(
        float(
            (pyconv.corr2d(gray, kernel) - F.conv2d(gray[None, None], kernel[None, None])[0, 0]).abs().max()
        )
        for kernel in kernels
    )


def displayed(panel: Panel) -> Tensor:
    """The panel's values brought to [0, 1]: the strongest 1 % saturate, zero is mid gray if sign matters."""
    image = panel.image
    if panel.title == "the photograph":
        return image.permute(1, 2, 0)
    scale = image.abs().flatten()
    scale = scale.kthvalue(max(1, int(0.99 * scale.numel()))).values.clamp_min(1e-6)
    image = (image / scale).clamp(-1, 1)
    if panel.signed:
        return (image + 1) / 2
    image = image**0.75  # lifts faint edges out of the black
    return image.permute(1, 2, 0) if image.dim() == 3 else image


def draw(made: list[Panel], path: Path) -> None:
    height, width = made[0].image.shape[-2:]
    figure, axes = pyplot.subplots(2, 3, figsize=(15, 10 * height / width + 1.1), layout="constrained")
    for panel, axis in zip(made, axes.flat, strict=True):
        axis.imshow(displayed(panel).numpy(), cmap="gray", vmin=0, vmax=1)
        axis.set_title(panel.title, fontsize=14)
        axis.set_axis_off()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def run(output: Path) -> list[str]:
    """Write one picture a photograph; what went wrong comes back as sentences."""
    output.mkdir(parents=True, exist_ok=True)
    failures = []
    for name in tqdm(PHOTOGRAPHS, desc="photographs", unit="picture"):
        photograph = load(name)
        path = output / f"edges_{name}.png"
        draw(panels(photograph), path)
        difference = largest_difference(photograph)
        height, width = photograph.shape[-2:]
        tqdm.write(f"{path}: {width}x{height} pixels, largest difference from torch {difference:.1e}")
        if not difference <= TOLERANCE:
            failures.append(
                f"the filters on {name}.jpg differ from torch by {difference:.3g} > {TOLERANCE:.0e}"
            )
    return failures
