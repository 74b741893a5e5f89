"""The model: adapter, UNet surgery, pipeline, training, sampling, media in and out, metrics.

Knows neither Prefect nor DVC nor the insides of `mannequin` and `densepose_prep`: it meets them
in the folder formats of `common`.
"""
