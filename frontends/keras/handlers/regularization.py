"""Layers that only act in training: nothing is left of them."""

from __future__ import annotations

from uair.frontends.keras.node import Family, KerasNode, Result

FAMILY = Family()


@FAMILY.op(
    "ActivityRegularization",
    "AlphaDropout",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
)
def _nothing(n: KerasNode) -> Result:
    """The mask of the operand stays with the result, which is the operand."""
    if n.argument(99, "training") is True:
        n.refuse("it is called with training=True, so its results are random", "call it without `training`")
    return n.xs[0] if len(n.xs) == 1 else n.args[0]


@FAMILY.op(
    "AugMix",
    "AutoContrast",
    "CutMix",
    "Equalization",
    "MixUp",
    "RandAugment",
    "RandomBrightness",
    "RandomColorDegeneration",
    "RandomColorJitter",
    "RandomContrast",
    "RandomElasticTransform",
    "RandomErasing",
    "RandomFlip",
    "RandomGaussianBlur",
    "RandomGrayscale",
    "RandomHue",
    "RandomInvert",
    "RandomPerspective",
    "RandomPosterization",
    "RandomRotation",
    "RandomSaturation",
    "RandomSharpness",
    "RandomShear",
    "RandomTranslation",
    "RandomZoom",
)
def _augmentation(n: KerasNode) -> Result:
    """What a saved model may begin with. Keras notes training=True at every call, whatever the model runs with."""
    return n.args[0]
