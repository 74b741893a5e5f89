"""DensePose by detectron2's own predictor: a program for an environment that has both packages.

    python detectron2_program.py --weights FILE --persons N

Reads the path of a picture a line, writes its dump (as `apply_net.py dump` would) to that path
and `.pkl`, and answers with a line. Imports nothing of this project: its environment is another.
"""

import argparse
import sys

import torch

# densepose_rcnn_R_50_FPN_s1x.yaml and its base, as far as they differ from the defaults.
SETTINGS = {
    "MODEL.META_ARCHITECTURE": "GeneralizedRCNN",
    "MODEL.BACKBONE.NAME": "build_resnet_fpn_backbone",
    "MODEL.RESNETS.DEPTH": 50,
    "MODEL.RESNETS.OUT_FEATURES": ["res2", "res3", "res4", "res5"],
    "MODEL.FPN.IN_FEATURES": ["res2", "res3", "res4", "res5"],
    "MODEL.ANCHOR_GENERATOR.SIZES": [[32], [64], [128], [256], [512]],
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": [[0.5, 1.0, 2.0]],
    "MODEL.RPN.IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"],
    "MODEL.RPN.PRE_NMS_TOPK_TEST": 1000,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 1000,
    "MODEL.ROI_HEADS.NAME": "DensePoseROIHeads",
    "MODEL.ROI_HEADS.IN_FEATURES": ["p2", "p3", "p4", "p5"],
    "MODEL.ROI_HEADS.NUM_CLASSES": 1,
    "MODEL.ROI_BOX_HEAD.NAME": "FastRCNNConvFCHead",
    "MODEL.ROI_BOX_HEAD.NUM_FC": 2,
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 7,
    "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": 2,
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": "ROIAlign",
    "MODEL.ROI_DENSEPOSE_HEAD.NAME": "DensePoseV1ConvXHead",
    "MODEL.ROI_DENSEPOSE_HEAD.POOLER_TYPE": "ROIAlign",
}


def predictor(weights, persons):
    """Detectron2's predictor for BGR pictures."""
    from densepose import add_densepose_config
    from detectron2.config import get_cfg
    from detectron2.engine import DefaultPredictor

    config = get_cfg()
    add_densepose_config(config)
    config.merge_from_list([item for pair in SETTINGS.items() for item in pair])
    config.MODEL.WEIGHTS = weights
    config.MODEL.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
    config.TEST.DETECTIONS_PER_IMAGE = persons
    return DefaultPredictor(config)


def dumped(path, found):
    """The dump's entry of one picture."""
    from densepose.vis.extractor import DensePoseResultExtractor

    entry = {
        "file_name": path,
        "scores": found.scores.cpu(),
        "pred_boxes_XYXY": found.pred_boxes.tensor.cpu(),
    }
    if found.has("pred_densepose"):
        results = DensePoseResultExtractor()(found)[0]
        for result in results:
            result.labels, result.uv = result.labels.cpu(), result.uv.cpu()
        entry["pred_densepose"] = results
    return entry


def main():
    from detectron2.data.detection_utils import read_image

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--persons", type=int, required=True)
    given = parser.parse_args()
    answers, sys.stdout = sys.stdout, sys.stderr
    detect = predictor(given.weights, given.persons)
    for line in sys.stdin:
        path = line.rstrip("\n")
        with torch.no_grad():
            found = detect(read_image(path, format="BGR"))["instances"]
        torch.save([dumped(path, found)], path + ".pkl")
        print("done", file=answers, flush=True)


if __name__ == "__main__":
    main()
