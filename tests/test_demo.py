"""The demo in a small form: its three parts, and that a missed promise shows in the exit status."""

import pytest
import torch
from PIL import Image

from pyconv import Conv2D, demo
from pyconv.demo import digits, kernel, photograph


def test_photographs_become_pictures(tmp_path):
    assert photograph.run(tmp_path / "new") == []
    for name in photograph.PHOTOGRAPHS:
        with Image.open(tmp_path / "new" / f"edges_{name}.png") as picture:
            assert picture.width >= 1000 and picture.height >= 500
            colours = picture.convert("RGB").getcolors(maxcolors=1 << 24)
            assert len(colours) > 1000, "a picture of a photograph has more colours than that"


def test_the_panels_hold_what_their_titles_say():
    image = photograph.load("china")[:, 100:140, 80:130]
    made = photograph.panels(image)
    gray = (image * torch.tensor(photograph.LUMINANCE).view(3, 1, 1)).sum(0)
    close = {"atol": 1e-5, "rtol": 0.0}
    torch.testing.assert_close(made[1].image, gray[:, :-1] - gray[:, 1:], **close)
    torch.testing.assert_close(made[2].image, gray[:-1] - gray[1:], **close)
    across = gray[:, :-2] - gray[:, 2:]
    down = gray[:-2] - gray[2:]
    horizontal = across[:-2] + 2 * across[1:-1] + across[2:]
    vertical = down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]
    expected = (horizontal.square() + vertical.square()).sqrt()
    torch.testing.assert_close(made[4].image[1:-1, 1:-1], expected, **close)
    assert made[5].image.shape == image.shape
    for panel in made:
        shown = photograph.displayed(panel)
        assert float(shown.min()) >= 0 and float(shown.max()) <= 1


def test_the_kernel_is_learned_and_printed_as_the_book_does(capsys):
    assert kernel.run() == []
    printed = capsys.readouterr().out
    losses = [float(line.split()[-1]) for line in printed.splitlines() if line.startswith("epoch ")]
    by_hand, by_optimizer = losses[:5], losses[5:]
    assert "epoch 2, loss " in printed and "epoch 10, loss " in printed
    assert by_hand == sorted(by_hand, reverse=True) and by_hand[-1] < 0.5
    assert len(by_optimizer) == 4 and by_optimizer == sorted(by_optimizer, reverse=True)


def test_a_missed_kernel_is_said():
    layer = Conv2D(1, 1, (1, 2), bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[[[1.0, -0.5]]]]))
    assert "not within 0.1" in kernel.missed(layer, "by hand")[0]


def test_both_networks_start_from_the_same_weights():
    ours, theirs = digits.network(Conv2D), digits.network(torch.nn.Conv2d)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value)
    images = digits.load().test_images[:32]
    torch.testing.assert_close(
        digits.logits(ours, images), digits.logits(theirs, images), atol=1e-5, rtol=0.0
    )


def test_digits_in_the_small(capsys):
    data = digits.load()
    assert len(data.train_labels) == 1347 and len(data.test_labels) == 450
    trained = digits.train("pyconv.Conv2D", Conv2D, data, epochs=6)
    assert trained.accuracy >= 0.94 and trained.seconds > 0
    assert trained.logits_before.shape == (450, 10)


def test_missing_the_digits_shows_in_the_exit_status(capsys, tmp_path):
    assert demo.main(["--only", "digits", "--epochs", "1", "--output", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert "held-out accuracy" in captured.out and "MISSED: " in captured.err
    assert "97%" in captured.err


def test_one_part_alone_succeeds(capsys, tmp_path):
    assert demo.main(["--only", "kernel", "--output", str(tmp_path)]) == 0
    assert "learned kernel" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_unknown_parts_are_refused():
    with pytest.raises(SystemExit) as stopped:
        demo.main(["--only", "dessert"])
    assert stopped.value.code == 2
