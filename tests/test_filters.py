"""The hand-made kernels do to polynomials what calculus says."""

import math

import pytest
import torch

import pyconv
from pyconv import filters


def test_first_derivative_is_the_book_edge_detector():
    assert torch.equal(filters.derivative(1), torch.tensor([[1.0, -1.0]]))
    assert torch.equal(filters.derivative(1, axis=0), torch.tensor([[1.0], [-1.0]]))
    assert torch.equal(filters.derivative(), filters.derivative(1))
    assert torch.equal(filters.derivative(2), torch.tensor([[1.0, -2.0, 1.0]]))
    assert torch.equal(filters.derivative(0), torch.tensor([[1.0]]))


@pytest.mark.parametrize("order", range(7))
def test_derivative_of_polynomials(order):
    kernel = filters.derivative(order, dtype=torch.float64)
    assert kernel.shape == (1, order + 1)
    t = torch.arange(order + 4, dtype=torch.float64)
    for degree in range(order + 1):
        want = (-1) ** order * math.factorial(order) if degree == order else 0
        response = pyconv.corr2d(t[None] ** degree, kernel)
        assert torch.equal(response, torch.full_like(response, want))
        response = pyconv.corr2d(t[:, None] ** degree, filters.derivative(order, axis=0, dtype=torch.float64))
        assert torch.equal(response, torch.full_like(response, want))


def test_laplacian():
    y, x = torch.meshgrid(torch.arange(6.0), torch.arange(5.0), indexing="ij")
    assert torch.equal(filters.laplacian(), torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]))
    assert torch.equal(pyconv.corr2d(x**2 + 3 * y**2, filters.laplacian()), torch.full((4, 3), 8.0))
    # The two diagonals add twice the same.
    assert torch.equal(
        pyconv.corr2d(x**2 + 3 * y**2, filters.laplacian(diagonals=True)), torch.full((4, 3), 24.0)
    )
    assert filters.laplacian().sum() == 0 and filters.laplacian(True).sum() == 0


def test_sobel_answers_to_one_direction():
    across = torch.arange(5.0).expand(6, 5)
    assert torch.equal(filters.sobel(), torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]]))
    assert torch.equal(filters.sobel(axis=0), filters.sobel().T)
    assert torch.equal(pyconv.corr2d(-across, filters.sobel()), torch.full((4, 3), 8.0))
    assert torch.equal(pyconv.corr2d(across, filters.sobel(axis=0)), torch.zeros(4, 3))
    # The sign is derivative(1)'s: white to black is positive.
    assert pyconv.corr2d(-across, filters.derivative(1)).min() > 0


def test_box_is_mean_or_sum():
    image = torch.arange(30.0).reshape(5, 6)
    torch.testing.assert_close(pyconv.corr2d(image, filters.box((5, 6))), image.mean().reshape(1, 1))
    assert pyconv.corr2d(image, filters.box((5, 6), normalize=False)).item() == image.sum().item()
    assert filters.box(3).shape == (3, 3)


def test_gaussian():
    kernel = filters.gaussian((5, 7), (1.0, 2.0), dtype=torch.float64)
    assert kernel.shape == (5, 7)
    torch.testing.assert_close(kernel.sum(), torch.tensor(1.0, dtype=torch.float64))
    assert torch.equal(kernel, kernel.flip(0, 1))
    torch.testing.assert_close(
        kernel[2, 4] / kernel[2, 3], torch.tensor(math.exp(-1 / 8), dtype=torch.float64)
    )
    torch.testing.assert_close(
        kernel[3, 3] / kernel[2, 3], torch.tensor(math.exp(-1 / 2), dtype=torch.float64)
    )
    assert torch.equal(filters.gaussian(3, 1), filters.gaussian((3, 3), (1, 1)))


@pytest.mark.parametrize(
    "make",
    [
        filters.derivative,
        filters.laplacian,
        filters.sobel,
        lambda **k: filters.box(3, **k),
        lambda **k: filters.gaussian(3, 1.0, **k),
    ],
)
def test_dtype_and_device(make):
    assert make().dtype == torch.get_default_dtype()
    kernel = make(dtype=torch.float64, device="meta")
    assert kernel.dtype == torch.float64 and kernel.device.type == "meta"


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: filters.derivative(-1), "order must be 0 or more, got -1"),
        (
            lambda: filters.derivative(1, axis=2),
            r"axis must be 0 \(along the height\) or 1 \(along the width\), got 2",
        ),
        (lambda: filters.sobel(axis=-1), "axis must be 0 .* got -1"),
        (lambda: filters.box(0), "size must be at least 1 in each direction, got 0"),
        (lambda: filters.gaussian((3, 0), 1), "size must be at least 1"),
        (lambda: filters.gaussian(3, 0.0), "sigma must be positive, got 0.0"),
        (lambda: filters.gaussian(3, float("nan")), "sigma must be positive, got nan"),
    ],
)
def test_bad_values(call, message):
    with pytest.raises(ValueError, match=message):
        call()
