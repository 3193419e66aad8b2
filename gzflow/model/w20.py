"""The network of Walmsley et al. 2020 (MNRAS 491, 1554): small, like VGG."""

from __future__ import annotations

from torch import Tensor, nn

NAME = "w20"
FEATURES = 128


class W20Encoder(nn.Module):
    """Two convolutions of 32 and two of 64 channels, one of 128 and one more, then 128 features.

    3 x 3 convolutions with ReLU, halved in size after the second, fourth, fifth and sixth. The paper's dropout of a
    half before its last layer is the head's.

    Parameters
    ----------
    channels
        Of the images; the paper averages the colours.
    pixels
        Side of the images, 16 or more; the paper has 64 and 128.
    """

    def __init__(self, channels: int, pixels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width, n_convolutions in ((32, 2), (64, 2), (FEATURES, 1), (FEATURES, 1)):
            for _ in range(n_convolutions):
                layers += [nn.Conv2d(channels, width, 3, padding="same"), nn.ReLU(inplace=True)]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.dense = nn.Sequential(nn.Flatten(), nn.Linear(FEATURES * (pixels // 16) ** 2, FEATURES), nn.ReLU())

    def forward(self, images: Tensor) -> Tensor:
        """(n, 128) features of (n, channels, pixels, pixels) images."""
        features: Tensor = self.dense(self.features(images))
        return features
