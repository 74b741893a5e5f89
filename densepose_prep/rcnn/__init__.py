"""DensePose R-CNN R50-FPN s1x: inference in torch alone, equal to detectron2's.

Reading order: picture → backbone → proposals (boxes, roi_align) → heads → chart; `network` puts
them together, `weights` reads the official file, `backend` is what the densepose stage uses.
Modules carry the names of the official arrays, so that a state dict tells what a file must hold.
"""
