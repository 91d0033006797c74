"""A small recipe for each family and kind of label, with generated data."""

from models.dpt.tiny import NECK, TINY
from models.mask2former.tiny import FIELDS, SWIN
from models.vitmatte.tiny import tiny_config
from perpixel.train.recipe import load_recipe
from train import pictures

MASK2FORMER = {**FIELDS, "backbone_config": SWIN}
DPT = {**TINY, "model_type": "dpt", "reassemble_factors": [4, 2, 1, 0.5]}
DEPTH_ANYTHING = {
    **NECK,
    "model_type": "depth_anything",
    "patch_size": 8,
    "reassemble_hidden_size": 16,
    "head_hidden_size": 8,
    "backbone_config": {
        "model_type": "dinov2",
        "hidden_size": 16,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
        "out_indices": [1, 2, 3, 4],
    },
}

# name: (task, layout, what makes the data, the model)
FAMILIES = {
    "vitmatte": ("matting", "matte-folder", pictures.mattes, tiny_config().to_dict()),
    "vitmatte-rgba": ("matting", "rgba", pictures.cutouts, tiny_config().to_dict()),
    "mask2former-semantic": ("semantic", "label-folder", pictures.labels, MASK2FORMER),
    "mask2former-instance": ("instance", "label-folder", pictures.instances, MASK2FORMER),
    "mask2former-panoptic": ("panoptic", "coco-panoptic", pictures.panoptic, MASK2FORMER),
    "dpt-semantic": ("semantic", "label-folder", pictures.labels, DPT),
    "dpt-relative": ("depth", "depth-folder", pictures.depths, DPT),
    "dpt-metric": ("depth", "depth-folder", pictures.depths, {**DPT, "depth_loss": "metric"}),
    "depth-anything": ("depth", "depth-folder", pictures.depths, DEPTH_ANYTHING),
}


def small_recipe(name, folder, **changes):
    task, layout, make, model = FAMILIES[name]
    data = folder / "data"
    if not data.exists():
        make(data)
    values = {
        "task": task,
        "data": {"layout": layout, "root": str(data)},
        "holdout": 0.3,
        "model": model,
        "augment": {"crop": [64, 64], "flip": 0.5},
        "output": str(folder / "run"),
        "steps": 2,
        "batch_size": 2,
        "learning_rate": 1e-3,
        "warmup": 2,
        "average": 0.0,
        "trackers": [],
    }
    return load_recipe({**values, **changes})
