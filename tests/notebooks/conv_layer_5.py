# ruff: noqa
# The fifth notebook: the kernel learned by hand, then on with an optimizer and a data loader.
# %% imports
import torch
from torch import nn
from pyconv import d2l

# %%
X = torch.ones((6, 8))
X[:, 2:6] = 0
show(X)
K = torch.tensor([[1.0, -1.0]])


# %% own corr2d
def corr2d(X, K):
    h, w = K.shape
    Y = torch.zeros((X.shape[0] - h + 1, X.shape[1] - w + 1))
    for i in range(Y.shape[0]):
        for j in range(Y.shape[1]):
            Y[i, j] = (X[i : i + h, j : j + w] * K).sum()
    return Y


# %%
Y = corr2d(X, K)
show(Y)

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

show(conv2d.weight.data.shape)

# %% optimizer
net = nn.Sequential(conv2d)
trainer = torch.optim.SGD(net.parameters(), lr=0.03)
loss = nn.MSELoss()
from torch.utils import data


def load_array(data_arrays, batch_size, is_train=True):
    dataset = data.TensorDataset(*data_arrays)
    return data.DataLoader(dataset, batch_size, shuffle=is_train)


show(X.shape)
data_arrays = [X.view(6, 1, 1, 8), Y.view(6, 1, 1, 7)]
data_loader = load_array(data_arrays, 2, False)
for x, y in data_loader:
    show(x)
    show(y)
num_epochs = 16
for epoch in range(num_epochs):
    for _data, _label in data_loader:
        l = loss(net(_data), _label)
        trainer.zero_grad()
        l.backward()
        trainer.step()
    l = loss(net(_data), _label)
    print(f"epoch {epoch + 1}, loss {l:f}")
show(net[0].weight.data)
