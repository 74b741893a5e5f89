"""The small IUV network: a fully convolutional U-Net from a picture to parts and their U, V.

The parts come out at full resolution, so that limbs a few pixels wide keep their outline. Weights
are a folder as diffusers lays it out, `config.json` and safetensors, but read without diffusers,
whose import takes longer than to find the poses of a clip.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from torch.nn import functional as F

from common.errors import InputError
from common.files import write_json
from common.images import Size
from common.layers import Levels, convolution, enlarged
from common.poses import PARTS

LABELS = PARTS + 1
_CONFIG, _WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
OUTPUTS = LABELS + 2 * PARTS


def split_outputs(outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(B, OUTPUTS, H, W) to logits (B, 25, H, W) and U, V of every part (B, 24, H, W) each."""
    return outputs.split([LABELS, PARTS, PARTS], 1)


def of_label(values: Tensor, labels: Tensor) -> Tensor:
    """The part's own channel of (B, 24, H, W) at labels (B, H, W) in 0..24; 0 on background."""
    chosen = values.gather(1, (labels - 1).clamp_min(0)[:, None])[:, 0]
    return chosen * (labels > 0)


@dataclass(frozen=True)
class IuvConfig:
    """What a network is built like.

    It is trained at `height` × `width`. The U-Net's levels, `channels`, begin at a quarter of the
    picture's resolution, where a front is told from a back cheaply; `fine` channels at half of it
    keep the outlines. `chart` names the surface chart of U and V.
    """

    height: int = 160
    width: int = 128
    fine: int = 16
    channels: tuple[int, ...] = (48, 64, 96, 112)
    chart: str = "mannequin"


class IuvNetwork(Levels):
    """RGB (B, 3, H, W) in [−1, 1] to (B, 25 + 24 + 24, H, W): part logits, U and V of each part.

    Sides must be multiples of `stride`.
    """

    def __init__(self, config: IuvConfig):
        fine, channels = config.fine, config.channels
        super().__init__(channels)
        self.config = config
        self.begin = nn.Sequential(nn.PixelUnshuffle(2), convolution(12, fine))
        self.enter = convolution(fine, channels[0], stride=2)
        self.surface = nn.Sequential(nn.Conv2d(channels[0], 4 * 2 * PARTS, 1), nn.PixelShuffle(2))
        self.back = enlarged(channels[0], fine)
        self.outline = convolution(fine, fine)
        self.parts = nn.ConvTranspose2d(fine, LABELS, 2, stride=2)

    @property
    def size(self) -> Size:
        """Height and width the weights were trained at."""
        return self.config.height, self.config.width

    @property
    def stride(self) -> int:
        """What the sides of a picture must be multiples of."""
        return 2 ** (1 + len(self.config.channels))

    @classmethod
    def load(cls, folder: Path) -> IuvNetwork:
        """The network in a folder, float32, for use. Raises InputError where there is none."""
        try:
            config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
            config = {k: v for k, v in config.items() if not k.startswith("_")}
            network = cls(IuvConfig(**config | {"channels": tuple(config["channels"])}))
            load_model(network, folder / _WEIGHTS)
        except (
            OSError,
            ValueError,
            LookupError,
            TypeError,
            RuntimeError,
            SafetensorError,
        ) as error:
            raise InputError(
                f"no IUV weights at {folder} ({str(error).splitlines()[0]})",
                "the shipped ones are in weights/mini/iuv",
            ) from None
        return network.eval()

    def save(self, folder: Path) -> None:
        """Write the network into a new folder."""
        folder.mkdir()
        write_json(folder / _CONFIG, asdict(self.config))
        save_model(self, folder / _WEIGHTS)

    def heads(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """Part logits (B, 25, H, W), and U, V of each part (B, 48, H/2, W/2), which are smooth."""
        fine = self.begin(picture)
        hidden = self.through(self.enter(fine))
        outline = self.outline(fine + self.back(hidden))
        return self.parts(outline), self.surface(hidden)

    def forward(self, picture: Tensor) -> Tensor:
        logits, surface = self.heads(picture)
        return torch.cat([logits, F.interpolate(surface, scale_factor=2, mode="bilinear")], 1)


def to_picture(frame: Tensor) -> Tensor:
    """uint8 RGB (…, 3, H, W) to float [−1, 1]."""
    return frame.to(torch.float32) / 127.5 - 1
