"""Frames to IUV maps: DensePose backends, the dump format, reformatting, retargeting, previews.

Knows nothing of the model that uses the maps, nor of the mannequin that made the training data:
it meets them in the folder formats of `common`.
"""
