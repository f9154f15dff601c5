# ruff: noqa
# The statements of the textbook's section on image convolution, cell by cell, as the first notebook has them.
# %% imports
import torch
from torch import nn
from pyconv import d2l

# %%
d2l.corr2d
X = torch.tensor(
    [
        [0, 1, 2],
        [3, 4, 5],
        [6, 7, 8],
    ],
    dtype=torch.float32,
)
K = torch.tensor(
    [
        [0, 1],
        [2, 3],
    ],
    dtype=torch.float32,
)
show(d2l.corr2d(X, K))


# %% own layer
class Conv2D(nn.Module):
    def __init__(self, kernel_size):
        super(Conv2D, self).__init__()

        self.weight = nn.Parameter(torch.randn(kernel_size))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return d2l.conv2d(x, self.weight, self.bias)


# %%
X = torch.ones([6, 8])
X[:, 2:6] = 0
show(X)
K = torch.tensor([[1.0, -1.0]])
Y = d2l.corr2d(X, K)
show(Y)
show(d2l.corr2d(X.T, K))

# %% learning
conv2d = nn.Conv2d(1, 1, kernel_size=[1, 2], bias=False)

X = X.reshape([1, 1, 6, 8])
Y = Y.reshape([1, 1, 6, 7])
lr = 3e-2

for i in range(10):
    Y_hat = conv2d(X)
    l = (Y_hat - Y) ** 2
    conv2d.zero_grad()
    l.sum().backward()
    conv2d.weight.data[:] -= lr * conv2d.weight.grad

    if (i + 1) % 2 == 0:
        print(f"epoch {i + 1}, loss {l.sum():.3f}")

show(conv2d.weight.data.reshape([1, 2]))
