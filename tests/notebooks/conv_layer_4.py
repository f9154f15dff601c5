# ruff: noqa
# The fourth notebook, which goes through the exercises. Cells of the exercises repeat their imports and definitions
# in the notebook; here they use those of the first cells.
# %% imports
import torch
from torch import nn
from pyconv import d2l


# %% own corr2d
def corr2d(X, K):
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

for i in range(10):
    Y_hat = conv2d(X)
    l = (Y_hat - Y) ** 2
    conv2d.zero_grad()
    l.sum().backward()
    conv2d.weight.data[:] -= lr * conv2d.weight.grad
    if (i + 1) % 2 == 0:
        print(f"epoch {i + 1}, loss {l.sum():.3f}")

show(conv2d.weight.data.reshape((1, 2)))

# %% exercise 1: a diagonal edge, then X transposed, then K transposed
X = torch.eye(8)
show(X)
K = torch.tensor([[1.0, -1.0]])
Y = corr2d(X, K)
show(Y)
show(X.T)
Y = corr2d(X.T, K)
show(Y)
show(K.T)
Y = corr2d(X, K.T)
show(Y)

# %% exercise 2: the gradient of the library's layer, which takes four dimensions
X = d2l.ones((6, 8))
X[:, 2:6] = 0
K = d2l.tensor([[1.0, -1.0]])
Y = corr2d(X, K)
corr2d(d2l.transpose(X), K)
conv2d = nn.Conv2d(1, 1, kernel_size=(1, 2), bias=False)
X = X.reshape((1, 1, 6, 8))
Y = Y.reshape((1, 1, 6, 7))
lr = 3e-2
try:
    for i in range(10):
        Y_hat = conv2d(X)
        l = (Y_hat - Y) ** 2
        conv2d.zero_grad()
        l.sum().backward()
        conv2d.weight.data[:] -= lr * conv2d.weight.grad
        if (i + 1) % 2 == 0:
            print(f"epoch {i + 1}, loss {l.sum():.3f}")
except Exception as e:
    print(e)

# %% exercise 2: the book's layer given four dimensions
conv2d = Conv2D(kernel_size=(1, 2))
try:
    for i in range(10):
        Y_hat = conv2d(X)
        l = (Y_hat - Y) ** 2
        conv2d.zero_grad()
        l.sum().backward()
        conv2d.weight.data[:] -= lr * conv2d.weight.grad
        if (i + 1) % 2 == 0:
            print(f"epoch {i + 1}, loss {l.sum():.3f}")
except Exception as e:
    print(e)

# %% exercise 2: the book's layer given two
conv2d = Conv2D(kernel_size=(1, 2))
X = X.reshape((6, 8))
Y = Y.reshape((6, 7))
try:
    for i in range(10):
        Y_hat = conv2d(X)
        l = (Y_hat - Y) ** 2
        conv2d.zero_grad()
        l.sum().backward()
        conv2d.weight.data[:] -= lr * conv2d.weight.grad
        if (i + 1) % 2 == 0:
            print(f"epoch {i + 1}, loss {l.sum():.3f}")
except Exception as e:
    print(e)


# %% own product
def conv2d_by_mul(X, K):
    h, w = K.shape
    outh = X.shape[0] - h + 1
    outw = X.shape[1] - w + 1
    K = K.reshape(-1, 1)
    Y = []
    for i in range(outh):
        for j in range(outw):
            Y.append(X[i : i + h, j : j + w].reshape(-1))
        Y = torch.stack(Y, 0)
        res = (torch.matmul(Y, K)).reshape(outh, outw)
        return res


# %% exercise 3: correlation as a matrix product
X = torch.ones((2, 3))
X[:, 1] = 0
show(X)
K = torch.ones((2, 3))
output = conv2d_by_mul(X, K)
show(output)
