"""Published architectures with random weights: what `convert` and `use` are tried on, small or in full size.

Built from configurations of the transformers package, which fetches nothing for that, but for the U-Net,
which is here. Weights come from a seed. What the packages' own initialisation would make of a deep network
without training is of no use to a comparison: signals that die away after ten layers of weights of 0.02,
branches scaled by 1e-6, batch norms that are the identity. So every weight is drawn anew, at a size that
keeps signals alive. Dropout and its relatives are off: they would draw other numbers in float64 than in
float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Architecture:
    """name; make(full): the network, full or small; full_batch: images a step that a benchmark takes."""

    name: str
    make: Callable[[bool], nn.Module]
    full_batch: int
    small_size: int
    full_size: int = 224

    def build(self, full: bool = False, seed: int = 0) -> nn.Module:
        """The network with random weights, in eval mode: (N, 3, size, size) to a tensor of logits."""
        torch.manual_seed(seed)
        return draw_weights(Logits(self.make(full)), seed).eval()

    def images(self, batch: int, full: bool = False, seed: int = 1) -> Tensor:
        size = self.full_size if full else self.small_size
        return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(seed))


class Logits(nn.Module):
    """A network whose result is one tensor, whatever its own is."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        result = self.network(images)
        return result if isinstance(result, Tensor) else result.logits


def draw_weights(model: nn.Module, seed: int) -> nn.Module:
    """Weights of variance 2 / fan-in, biases, and statistics of batch norms that are not the identity's."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(tensor: Tensor | None, low: float, high: float) -> None:
        if tensor is not None:
            tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)

    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.modules.conv._ConvNd, nn.Linear)):
                bound = (6 / module.weight[0].numel()) ** 0.5
                uniform(module.weight, -bound, bound)
                uniform(module.bias, -0.1, 0.1)
            elif isinstance(module, (nn.BatchNorm2d, nn.LayerNorm)) and module.weight is not None:
                uniform(module.weight, 0.5, 1.5)
                uniform(module.bias, -0.2, 0.2)
                if isinstance(module, nn.BatchNorm2d):
                    uniform(module.running_mean, -0.2, 0.2)
                    uniform(module.running_var, 0.5, 1.5)
    return model


def resnet18(full: bool) -> nn.Module:
    from transformers import ResNetConfig, ResNetForImageClassification

    sizes, depths = ([64, 128, 256, 512], [2, 2, 2, 2]) if full else ([16, 64, 64], [1, 2, 1])
    return ResNetForImageClassification(
        ResNetConfig(layer_type="basic", embedding_size=sizes[0], hidden_sizes=sizes, depths=depths)
    )


def resnet50(full: bool) -> nn.Module:
    from transformers import ResNetConfig, ResNetForImageClassification

    small = {"embedding_size": 16, "hidden_sizes": [32, 64, 128], "depths": [1, 2, 1]}
    return ResNetForImageClassification(ResNetConfig(**({} if full else small)))


def regnet_y(full: bool) -> nn.Module:
    from transformers import RegNetConfig, RegNetForImageClassification

    small = {"embedding_size": 16, "hidden_sizes": [16, 32, 64], "depths": [1, 2, 1], "groups_width": 8}
    return RegNetForImageClassification(RegNetConfig(**({} if full else small)))


def convnext_tiny(full: bool) -> nn.Module:
    from transformers import ConvNextConfig, ConvNextForImageClassification

    small = {"hidden_sizes": [16, 32, 64, 64], "depths": [1, 1, 2, 1]}
    return ConvNextForImageClassification(
        ConvNextConfig(layer_scale_init_value=1.0, **({} if full else small))
    )


def mobilenet_v2(full: bool) -> nn.Module:
    from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

    # The small one has dilated layers in place of the last strides: an image of one pixel would leave a batch
    # norm as many values a channel as there are images, and its gradients little but rounding errors.
    small = {"depth_multiplier": 0.25, "output_stride": 8, "finegrained_output": False}
    return MobileNetV2ForImageClassification(
        MobileNetV2Config(classifier_dropout_prob=0.0, **({} if full else small))
    )


def efficientnet_b0(full: bool) -> nn.Module:
    from transformers import EfficientNetConfig, EfficientNetForImageClassification

    small = {
        "in_channels": [32, 8, 16, 24],
        "out_channels": [8, 16, 24, 32],
        "kernel_sizes": [3, 3, 5, 3],
        "strides": [1, 2, 2, 1],
        "num_block_repeats": [1, 1, 2, 1],
        "expand_ratios": [1, 6, 6, 6],
    }
    config = EfficientNetConfig(
        width_coefficient=1.0,
        depth_coefficient=1.0,
        hidden_dim=1280,
        dropout_rate=0.0,
        drop_connect_rate=0.0,
        **({} if full else small),
    )
    return EfficientNetForImageClassification(config)


def segformer_b0(full: bool) -> nn.Module:
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    small = {
        "hidden_sizes": [16, 32, 32, 64],
        "depths": [1, 1, 1, 1],
        "num_attention_heads": [1, 2, 2, 4],
        "decoder_hidden_size": 32,
    }
    return SegformerForSemanticSegmentation(
        SegformerConfig(
            num_labels=19, classifier_dropout_prob=0.0, drop_path_rate=0.0, **({} if full else small)
        )
    )


def vit_b16(full: bool) -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    small = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 128,
        "image_size": 64,
    }
    return ViTForImageClassification(ViTConfig(**({} if full else small)))


def upernet_convnext(full: bool) -> nn.Module:
    from transformers import ConvNextConfig, UperNetConfig, UperNetForSemanticSegmentation

    small = {"hidden_sizes": [16, 32, 32, 64], "depths": [1, 1, 1, 1]}
    published = {"hidden_sizes": [96, 192, 384, 768]}  # the default, as the list that a backbone needs
    backbone = ConvNextConfig(
        out_features=["stage1", "stage2", "stage3", "stage4"],
        layer_scale_init_value=1.0,
        **(published if full else small),
    )
    return UperNetForSemanticSegmentation(
        UperNetConfig(
            backbone_config=backbone,
            num_labels=19,
            hidden_size=256 if full else 32,
            use_auxiliary_head=False,  # its result is no part of the logits
        )
    )


class UNet(nn.Module):
    """Ronneberger et al., 2015, with padded layers and batch norm, as it is mostly used today."""

    def __init__(self, channels: list[int], classes: int) -> None:
        super().__init__()

        def pair(before: int, after: int) -> nn.Sequential:
            layers = []
            for c in (before, after):
                layers += [nn.Conv2d(c, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
            return nn.Sequential(*layers)

        self.down = nn.ModuleList(pair(a, b) for a, b in zip([3, *channels], channels, strict=False))
        ups = list(zip(channels[:0:-1], channels[-2::-1], strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, stride=2) for a, b in ups)
        self.join = nn.ModuleList(pair(2 * b, b) for _, b in ups)
        self.classes = nn.Conv2d(channels[0], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for level in self.down:
            x = level(nn.functional.max_pool2d(x, 2) if kept else x)
            kept.append(x)
        for up, join, skipped in zip(self.up, self.join, kept[-2::-1], strict=True):
            x = join(torch.cat([skipped, up(x)], 1))
        return self.classes(x)


def unet(full: bool) -> nn.Module:
    return UNet([32, 64, 128, 256, 512] if full else [8, 16, 32, 64], 19)


ARCHITECTURES = {
    make.__name__: Architecture(make.__name__, make, batch, size)
    for make, batch, size in (
        (resnet18, 4, 64),
        (resnet50, 4, 64),
        (regnet_y, 4, 32),
        (convnext_tiny, 4, 64),
        (mobilenet_v2, 4, 32),
        (efficientnet_b0, 4, 32),
        (segformer_b0, 4, 64),
        (vit_b16, 4, 64),
        (upernet_convnext, 1, 64),
        (unet, 1, 32),
    )
}
