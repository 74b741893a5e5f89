"""What a training step of the UNet or of the decoder keeps for its way back, estimated.

Counted are the outputs of the layers, block by block, times a factor that fits the peak of
`bench/full_size.py train`; with gradient checkpointing a block keeps its inputs and only the
largest one the rest.
"""

from __future__ import annotations

from common.settings import TrainingSettings
from dreampose_core.pipeline import DreamPosePipeline

_KEPT = 200
"""Values kept a channel and cell of a layer: its norms, products, attention and feed-forward."""
_KEPT_DECODER = 14


def unet_activations(model: DreamPosePipeline, settings: TrainingSettings) -> int:
    """Bytes of one micro-batch through the UNet."""
    config, (height, width) = model.unet.config, model.conditioning.grid
    blocks = []
    for level, channels in enumerate(config.block_out_channels):
        cells = height * width // 4**level
        blocks += [cells * channels] * (2 * config.layers_per_block + 1)
    return _bytes(blocks, _KEPT, settings)


def decoder_activations(model: DreamPosePipeline, settings: TrainingSettings) -> int:
    """Bytes of one micro-batch through the autoencoder's decoder."""
    config = model.conditioning.config
    channels = getattr(model.vae.config, "block_out_channels", None)
    channels = channels or model.vae.config.decoder_block_out_channels
    blocks = [
        config.height * config.width // 4**level * width
        for level, width in enumerate(channels)
        for _ in range(3)
    ]
    return _bytes(blocks, _KEPT_DECODER, settings)


def _bytes(blocks: list[int], kept: int, settings: TrainingSettings) -> int:
    rows = settings.batch_size // settings.accumulation
    size = 4 if settings.mixed_precision == "no" else 2
    if settings.gradient_checkpointing:
        return rows * size * (2 * sum(blocks) + kept * max(blocks))
    return rows * size * kept * sum(blocks)
