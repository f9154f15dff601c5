# ruff: noqa
# The third notebook: twenty epochs, and the layer's bias shown.
# %% imports
import torch
from torch import nn
from pyconv import d2l


# %% own corr2d
def corr2d(X: torch.tensor, K: torch.tensor) -> torch.tensor:
    h, w = K.shape
    Y = torch.zeros((X.shape[0] - h + 1, X.shape[1] - w + 1))
    for i in range(Y.shape[0]):
        for j in range(Y.shape[1]):
            Y[i, j] = (X[i : i + h, j : j + w] * K).sum()
    return Y


# %%
X = torch.tensor([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0], [6.0, 7.0, 8.0]])
K = torch.tensor([[0.0, 1.0], [2.0, 3.0]])
show(corr2d(X, K))


# %% own layer
class Conv2D(nn.Module):
    def __init__(self, kernel_size):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(kernel_size))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return corr2d(x, self.weight) + self.bias


# %%
layer = Conv2D((2, 2))
show(layer.bias)

# %%
X = torch.ones((6, 8))
X[:, 2:6] = 0
show(X)
K = torch.tensor([[1.0, -1.0]])
Y = corr2d(X, K)
show(Y)
show(corr2d(X.t(), K))

# %% learning
conv2d = nn.Conv2d(1, 1, kernel_size=(1, 2), bias=False)

X = X.reshape((1, 1, 6, 8))
Y = Y.reshape((1, 1, 6, 7))
lr = 3e-2

for i in range(int(20)):
    Y_hat = conv2d(X)
    l = (Y_hat - Y) ** 2
    conv2d.zero_grad()
    l.sum().backward()
    conv2d.weight.data[:] -= lr * conv2d.weight.grad
    if (i + 1) % 5 == 0:
        print(f"epoch {i + 1}, loss {l.sum():.3f}")

show(conv2d.weight.data)
show(1e3)
