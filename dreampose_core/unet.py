"""UNet surgery: input channels for the pose beside the latents."""

from __future__ import annotations

import torch
from diffusers import UNet2DConditionModel
from torch import nn


def widen_conv_in(unet: UNet2DConditionModel, extra: int) -> UNet2DConditionModel:
    """Give `unet` `extra` more input channels, in place.

    The pretrained weight AND bias are kept and the new channels start at zero, so a zero pose
    gives the unmodified UNet's output (the published code loses the bias).
    """
    old = unet.conv_in
    new = nn.Conv2d(
        old.in_channels + extra, old.out_channels, old.kernel_size, old.stride, old.padding
    ).to(old.weight)
    with torch.no_grad():
        new.weight.zero_()
        new.weight[:, : old.in_channels].copy_(old.weight)
        new.bias.copy_(old.bias)
    unet.conv_in = new
    unet.register_to_config(in_channels=new.in_channels)
    return unet
