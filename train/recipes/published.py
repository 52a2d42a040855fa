"""The recipes as data: the published systems this project grew from and its own. The fields: `recipe.Recipe`.

Where a publication leaves a number open, the one here is this project's, and the summary says so. Pretrained networks
get the values their weights were trained on, whatever the publication fed them; small networks get what it fed them
(networks.py). Published figures on random splits of images are too good: about a third of HAM10000's test images then
show a lesion that is in training too (docs/results.md).

hours: 30 epochs of 6,500 pictures on two CPU cores, by `python -m studies.step_times NAME`, on a
machine that did other work at the same time: an upper limit. Recipes that train the same layers at the same size share
one figure.
"""

from __future__ import annotations

from dataclasses import replace

from ...edge_runtime.errors import UnknownNameError
from ..pipeline.augment import Augmentation
from .recipe import METADATA_ONLY, Recipe
from .search_space import Between, Log, OneOf

# What a search varies where a recipe says nothing else.
_HEAD_AND_RATE = {
    "learning_rate": Log(1e-5, 1e-2),
    "dropout": Between(0.0, 0.6),
    "l2": Log(1e-6, 1e-2),
    "batch_size": OneOf(16, 32, 64),
}
_AGE_SEX_SITE = ("age", "sex", "site")
_FLIPS = Augmentation(flip_horizontal=True, flip_vertical=True)

# --- Seven networks on HAM10000 at 100x125 px, split by image -----------------------------------------------------

_SEVEN_SOURCE = "published comparison of seven networks on HAM10000 (100x125 px, images split at random)"

NN_BASIC = Recipe(
    name="nn-basic",
    summary="dense network: five hidden layers of 64 on z-scored pixels, no convolution",
    source=_SEVEN_SOURCE,
    expected="69% test accuracy",
    hours=0.1,
    clean=("published",),
    backbone="image",
    weights="none",
    image_size=(100, 125),
    pooling="flatten",
    head_batch_norm=False,
    hidden=(64, 64, 64, 64, 64),
    dropout=0.0,
    l2=0.0,
    epochs=50,
    batch_size=10,
    learning_rate=7.5e-4,
    early_stopping=50,
    best_by="accuracy",
    split="random",
    fractions=(0.675, 0.075, 0.25),
    search=_HEAD_AND_RATE,
)

CNN_BASIC = replace(
    NN_BASIC,
    name="cnn-basic",
    summary="three blocks of convolution (32), max pooling and dropout 0.15, 0.25 (ours) and 0.34; dense 256 and 128",
    expected="75% test accuracy",
    hours=1,
    backbone="cnn3",
    hidden=(256, 128),
)

CNN_AUGMENTED = replace(
    CNN_BASIC,
    name="cnn-augmented",
    summary="cnn-basic with rotation 10, zoom 0.1, shift 0.12 and flips; the learning rate falls on a plateau",
    expected="76% test accuracy",
    hours=1,
    augmentation=replace(_FLIPS, rotation=10, zoom=0.1, shift=0.12),
    early_stopping=15,
    plateau_patience=3,
    search={
        **_HEAD_AND_RATE,
        "augmentation.rotation": Between(0, 180),
        "augmentation.zoom": Between(0.0, 0.4),
        "augmentation.shift": Between(0.0, 0.2),
    },
)

MOBILENET = replace(
    CNN_AUGMENTED,
    name="mobilenet",
    summary="MobileNet 1.0 from ImageNet, last 23 layers, dropout 0.3, augmentation of cnn-augmented",
    expected="81% test accuracy",
    hours=1,
    backbone="mobilenet",
    weights="imagenet",
    unfreeze=23,
    pooling="average",
    hidden=(),
    dropout=0.3,
    batch_size=32,
    learning_rate=1e-4,
    search={**CNN_AUGMENTED.search, "unfreeze": OneOf(0, 10, 23, 50, 86)},
)

RESNET50 = replace(
    MOBILENET,
    name="resnet50",
    summary="ResNet50 from ImageNet, last 23 layers, otherwise as mobilenet",
    expected="75% test accuracy",
    hours=2,
    backbone="resnet50",
)

DENSENET121 = replace(
    MOBILENET,
    name="densenet121",
    summary="DenseNet121 from ImageNet, last 23 layers, otherwise as mobilenet",
    expected="82% test accuracy",
    hours=1.2,
    qat=False,
    backbone="densenet121",
)

MOBILENET_ENHANCED = Recipe(
    name="mobilenet-enhanced",
    summary="MobileNet 1.0, last 50 layers, BatchNormalization and dropout 0.5 in the head, heavy augmentation",
    source="published comparison of seven networks on HAM10000, its best; here at 224 px and split by lesion",
    expected="83% at 100x125 px, random split",
    hours=4.5,
    augmentation=replace(_FLIPS, rotation=30, zoom=0.3, shift=0.12),
    search={
        "learning_rate": Log(1e-4, 1e-2),
        "dropout": Between(0.1, 0.6),
        "l2": Log(1e-5, 1e-2),
        "unfreeze": Between(10, 86),
        "batch_size": OneOf(16, 32, 64),
        "label_smoothing": Between(0.0, 0.2),
        "schedule": OneOf("plateau", "cosine"),
        "augmentation.zoom": Between(0.0, 0.4),
    },
)

MOBILENET_ENHANCED_PUBLISHED = replace(
    MOBILENET_ENHANCED,
    name="mobilenet-enhanced-published",
    summary="mobilenet-enhanced as published: 100x125 px and a random split, which leaks lesions into the test part",
    source=_SEVEN_SOURCE,
    expected="83% test accuracy",
    hours=0.4,
    clean=("published",),
    image_size=(100, 125),
    split="random",
    fractions=(0.675, 0.075, 0.25),
)

MOBILENET_BALANCED = replace(
    MOBILENET_ENHANCED,
    name="mobilenet-balanced",
    summary="mobilenet-enhanced at 160 px: any angle, mild changes of light and colour, a loss that makes "
    "up for half of the classes' unequal frequency, cosine schedule, averaged weights; needs no earlier run",
    source="this project, chosen on the validation part of HAM10000 at 200x150 px, split by lesion",
    expected="0.79 accuracy, 0.66-0.69 balanced",
    hours=2,
    image_size=(160, 160),
    augmentation=replace(
        MOBILENET_ENHANCED.augmentation,
        rotation=180,
        brightness=0.1,
        contrast=0.15,
        channel_gain=0.1,
        saturation=0.15,
    ),
    loss="logit-adjusted",
    logit_adjustment=0.5,
    epochs=15,
    learning_rate=1e-3,
    schedule="cosine",
    warmup_epochs=1,
    ema=0.995,
    search={
        "learning_rate": Log(1e-4, 1e-2),
        "dropout": Between(0.1, 0.6),
        "l2": Log(1e-5, 1e-2),
        "logit_adjustment": Between(0.0, 1.0),
        "ema": OneOf(0.0, 0.99, 0.995, 0.999),
        "batch_size": OneOf(16, 32, 64),
    },
)

# --- Others on HAM10000's seven diagnoses -------------------------------------------------------------------------

CNN_IMAGES = Recipe(
    name="cnn-images",
    summary="five blocks of convolution, max pooling and dropout 0.2; filters 16 to 128 and size are ours",
    source="published pictures-only network of a HAM10000 system that adds age, sex and site",
    expected="0.76 validation accuracy",
    hours=0.3,
    backbone="cnn5",
    weights="none",
    image_size=(128, 128),
    pooling="flatten",
    head_batch_norm=False,
    hidden=(128,),
    l2=0.0,
    epochs=60,
    best_by="accuracy",
    split="random",
    fractions=(0.72, 0.08, 0.2),
    search=_HEAD_AND_RATE,
)

CNN_RESIDUAL_METADATA = replace(
    CNN_IMAGES,
    name="cnn-residual-metadata",
    summary="four residual blocks on the picture, beside age, sex and site; filters 16 to 128, their dense layer of 32 "
    "and all of the training are ours",
    source="published HAM10000 system that adds age, sex and site: its residual network, from random weights",
    expected="0.71 validation accuracy",
    hours=2.2,
    backbone="residual",
    pooling="average",
    hidden=(64,),
    dropout=0.3,
    l2=1e-4,
    metadata=_AGE_SEX_SITE,
)

CNN_METADATA_AUGMENTED = replace(
    CNN_IMAGES,
    name="cnn-metadata-augmented",
    summary="cnn-images beside age, sex and site, with flips, rotation 20, zoom and shift 0.1. The published numbers, "
    "found by random search, are not known: these are ours, for skin-edge tune --sampler random to start from",
    source="published HAM10000 system that adds age, sex and site: its convolutional network, found by random search",
    expected="0.785 validation accuracy",
    hours=0.4,
    augmentation=replace(_FLIPS, rotation=20, zoom=0.1, shift=0.1),
    metadata=_AGE_SEX_SITE,
    search={
        **_HEAD_AND_RATE,
        "backbone": OneOf("cnn3", "cnn3-wide", "cnn4-dropout", "cnn5"),  # number of blocks, their filters and dropout
        "hidden": OneOf([64], [128], [256], [256, 128]),
        "metadata_units": OneOf(16, 32, 64),
        "augmentation.rotation": Between(0, 180),
        "augmentation.zoom": Between(0.0, 0.3),
    },
)

MOBILENET_METADATA = replace(
    MOBILENET,
    name="mobilenet-metadata",
    summary="MobileNet 1.0 from ImageNet beside age, sex and site; 224 px, last 23 layers, dropout 0.3 and the "
    "augmentation of cnn-metadata-augmented are ours",
    source="published HAM10000 system that adds age, sex and site: its pretrained network",
    expected="0.84 validation accuracy",
    hours=1.4,
    clean=(),
    image_size=(224, 224),
    augmentation=CNN_METADATA_AUGMENTED.augmentation,
    epochs=60,
    fractions=CNN_IMAGES.fractions,
    metadata=_AGE_SEX_SITE,
    search={**MOBILENET.search, "metadata_units": OneOf(16, 32, 64)},
)

MOBILENET_RECALL = Recipe(
    name="mobilenet-recall",
    summary="recall first: MobileNet, all layers, every class equally often, the epoch of best macro recall is kept",
    source="published HAM10000 system that looks for recall; random crops are zoom and shift here, the decay a cosine",
    expected="about 70% macro recall",
    hours=4,
    unfreeze=None,
    batch_norm="all",
    dropout=0.3,
    l2=0.0,
    augmentation=replace(_FLIPS, rotation=180, zoom=0.2, shift=0.1, contrast=0.2),
    balance="oversample",
    epochs=50,
    learning_rate=1e-4,
    schedule="cosine",
    warmup_epochs=1,
    best_by="balanced_accuracy",
    search={**_HEAD_AND_RATE, "ema": OneOf(0.0, 0.99, 0.999), "loss": OneOf("cross-entropy", "focal")},
)

EFFICIENTNET_B3 = replace(
    MOBILENET_RECALL,
    name="efficientnet-b3",
    summary="recall first, as mobilenet-recall, with EfficientNetB3 at its own 300 px",
    expected="about 75% macro recall",
    hours=36,
    qat=False,
    backbone="efficientnetb3",
    image_size=(300, 300),
    batch_size=16,
)

ANN_FEATURES = Recipe(
    name="ann-features",
    summary="dense network on colour and texture formulas per cell of a 4x4 grid: networks.handmade, not the paper's",
    source="published dense network on hand-made colour and texture features of HAM10000; layer sizes are ours",
    expected="70.2% accuracy",
    hours=0.1,
    backbone="handmade",
    weights="none",
    unfreeze=0,
    image_size=(128, 128),
    pooling="flatten",
    hidden=(256, 64),
    dropout=0.3,
    l2=1e-4,
    epochs=100,
    best_by="accuracy",
    split="random",
    fractions=(0.72, 0.08, 0.2),
    search=_HEAD_AND_RATE,
)

CNN_128 = replace(
    CNN_IMAGES,
    name="cnn-128",
    summary="three blocks of convolution (32, 64, 128, ours) and max pooling at 128 px, dense 128, dropout 0.5",
    source="published series of HAM10000 networks: its first convolutional one",
    expected="80.5% / 68.5% accuracy",
    hours=1.5,
    backbone="cnn3-wide",
)

CNN_DROPOUT_224 = replace(
    CNN_128,
    name="cnn-dropout-224",
    summary="four blocks of convolution (32 to 128, ours), max pooling and dropout 0.25 at 224 px, dense 128",
    source="published series of HAM10000 networks: with dropout against overfitting",
    expected="none published",
    hours=8,
    backbone="cnn4-dropout",
    image_size=(224, 224),
    augmentation=replace(_FLIPS, rotation=20),
)

MOBILENETV2 = Recipe(
    name="mobilenetv2",
    summary="MobileNetV2 from ImageNet: two epochs of the head alone, then the last 50 layers",
    source="published series of HAM10000 networks: transfer learning",
    expected="77.9% accuracy, AUC 0.89",
    hours=1.4,
    backbone="mobilenetv2",
    head_epochs=2,
    dropout=0.3,
    augmentation=replace(_FLIPS, rotation=20, zoom=0.1),
    epochs=50,
    learning_rate=1e-4,
    best_by="accuracy",
    split="random",
    fractions=(0.72, 0.08, 0.2),
    search={
        **_HEAD_AND_RATE,
        "balance": OneOf("none", "class-weight", "oversample"),
        "loss": OneOf("cross-entropy", "focal"),
        "unfreeze": OneOf(0, 20, 50, 100, 154),
    },
)

RESNET50_FROZEN = replace(
    MOBILENETV2,
    name="resnet50-frozen",
    summary="ResNet50 from ImageNet as it is; only the head learns",
    expected="none published",
    hours=9,
    backbone="resnet50",
    unfreeze=0,
    head_epochs=0,
    learning_rate=1e-3,
    search=_HEAD_AND_RATE,
)

RESNET50_FINETUNED = replace(
    MOBILENETV2,
    name="resnet50-finetuned",
    summary="ResNet50 from ImageNet: two epochs of the head alone, then all layers, their BatchNormalization frozen",
    expected="none published",
    hours=18,
    backbone="resnet50",
    unfreeze=None,
    batch_norm="frozen",
    learning_rate=1e-5,
)

EFFICIENTNETV2 = replace(
    MOBILENETV2,
    name="efficientnetv2",
    summary="EfficientNetV2-B0 (the size is ours) from ImageNet at 240 px: head, then all layers, BatchNorm frozen",
    expected="80.45% accuracy, AUC 0.9517",
    hours=9,
    qat=False,
    backbone="efficientnetv2b0",
    image_size=(240, 240),
    unfreeze=None,
    batch_norm="frozen",
)

INCEPTIONRESNETV2 = replace(
    MOBILENETV2,
    name="inceptionresnetv2",
    summary="InceptionResNetV2 from ImageNet at its own 299 px: head, then the last 100 layers",
    expected="none published",
    hours=35,
    qat=False,
    backbone="inceptionresnetv2",
    image_size=(299, 299),
    unfreeze=100,
    batch_size=16,
)

MOBILENETV3 = replace(
    MOBILENETV2,
    name="mobilenetv3",
    summary="MobileNetV3-Large from ImageNet: head, then all layers, BatchNormalization frozen",
    expected="none published",
    hours=2.5,
    qat=False,
    backbone="mobilenetv3large",
    unfreeze=None,
    batch_norm="frozen",
)

# --- Benign or malignant (made for ISIC; any data set with the target or known diagnoses) -------------------------

CNN_MALIGNANT = Recipe(
    name="cnn-malignant",
    summary="four blocks of convolution (32 to 128, ours) with BatchNormalization, from random weights",
    source="published ISIC system for benign or malignant, without a pretrained base",
    expected="none published",
    hours=1.1,
    task="malignant",
    backbone="cnn4-batchnorm",
    weights="none",
    unfreeze=None,
    image_size=(128, 128),
    head_batch_norm=False,
    hidden=(128,),
    l2=1e-4,
    augmentation=_FLIPS,
    balance="undersample",
    epochs=50,
    learning_rate=1e-3,
    search=_HEAD_AND_RATE,
)

CNN_METADATA_MALIGNANT = replace(
    CNN_MALIGNANT,
    name="cnn-metadata-malignant",
    summary="cnn-malignant beside age, sex and site, whose dense layer of 32 is ours",
    source="published ISIC system for benign or malignant, without a pretrained base, with age, sex and site",
    metadata=_AGE_SEX_SITE,
    search={**_HEAD_AND_RATE, "metadata_units": OneOf(16, 32, 64)},
)

METADATA_LINEAR = Recipe(
    name="metadata-linear",
    summary="logistic regression on age, sex and site alone: a picture is given and decoded as ever, at 32 px, but a "
    "fixed layer makes a constant of it. Class weights and learning rate are ours",
    source="published ISIC system for benign or malignant, without the picture",
    expected="none published",
    hours=0.1,
    task="malignant",
    backbone=METADATA_ONLY,
    weights="none",
    image_size=(32, 32),
    head_batch_norm=False,
    dropout=0.0,
    l2=1e-4,
    balance="class-weight",
    epochs=50,
    batch_size=64,
    learning_rate=1e-2,
    metadata=_AGE_SEX_SITE,
    metadata_units=0,
    search={name: _HEAD_AND_RATE[name] for name in ("learning_rate", "l2", "batch_size")},
)

METADATA_MLP = replace(
    METADATA_LINEAR,
    name="metadata-mlp",
    summary="as metadata-linear, with dense layers of 32 and 16 and dropout 0.2 (ours)",
    hidden=(16,),
    metadata_units=32,
    dropout=0.2,
    learning_rate=3e-3,
    search={**_HEAD_AND_RATE, "metadata_units": OneOf(16, 32, 64), "hidden": OneOf([16], [32], [32, 16])},
)

MOBILENETV2_MALIGNANT = Recipe(
    name="mobilenetv2-malignant",
    summary="MobileNetV2, frozen; 5,000 pictures of each class in an epoch, augmented; validated on equally many. "
    "Published variants: --balance 10000; --set balance_validation=false; --set augmentation.rotation=0 (also zoom and "
    "flips) for none; --unfreeze 50 for a base that learns",
    source="published ISIC system for benign or malignant, in sixteen variants",
    expected="none published",
    hours=0.9,
    task="malignant",
    backbone="mobilenetv2",
    unfreeze=0,
    dropout=0.2,
    l2=0.0,
    augmentation=replace(_FLIPS, rotation=20, zoom=0.1),
    balance="5000",
    balance_validation=True,
    epochs=30,
    learning_rate=1e-3,
    search={**_HEAD_AND_RATE, "balance": OneOf("5000", "10000"), "unfreeze": OneOf(0, 50)},
)

RESNET50_MALIGNANT = replace(
    MOBILENETV2_MALIGNANT,
    name="resnet50-malignant",
    summary="as mobilenetv2-malignant, with ResNet50",
    source="published ISIC system for benign or malignant",
    hours=9,
    backbone="resnet50",
)

MALIGNANT_CLASSES_FROZEN = replace(
    MOBILENETV2_MALIGNANT,
    name="malignant-classes-frozen",
    summary="benign diagnoses together, each malignant one by itself; MobileNetV2, frozen; class weights",
    source="published ISIC system for benign or malignant, its malignant classes split further",
    hours=0.9,
    task="malignant-classes",
    balance="class-weight",
    balance_validation=False,
    search=_HEAD_AND_RATE,
)

MALIGNANT_CLASSES_UNFROZEN = replace(
    MALIGNANT_CLASSES_FROZEN,
    name="malignant-classes-unfrozen",
    summary="malignant-classes-frozen whose last 50 layers learn too, after two epochs of the head alone",
    hours=1.4,
    unfreeze=50,
    head_epochs=2,
    learning_rate=1e-4,
)

# --- This project's own -------------------------------------------------------------------------------------------

SKIN_EDGE_DEFAULT = Recipe(
    name="skin-edge-default",
    summary="MobileNet 1.0 at 224 px, all layers, any angle, frames, light, blur and hair as elsewhere, worse files "
    "than its teachers see, averaged weights; the last training of the sequence in docs/experiments.md: it begins with "
    "an earlier run (--start), learns from others (--teacher) and from pictures of two sizes (--also); the result is "
    "that of convert --int8 --logit-shift 0.4",
    source="this project, chosen on the validation part of HAM10000, split by lesion",
    expected="0.816 accuracy, 0.761 balanced",
    hours=1,
    image_size=(224, 224),
    unfreeze=None,
    batch_norm_batches=60,
    augmentation=Augmentation(
        rotation=180,
        zoom=0.35,
        shift=0.12,
        flip_horizontal=True,
        flip_vertical=True,
        brightness=0.1,
        contrast=0.15,
        channel_gain=0.1,
        saturation=0.15,
        sharpness=0.5,
        resolution=0.3,
        compression=0.4,
        noise=2,
        aspect=0.15,
        light=0.8,
        temperature=30.0,
        frame=0.25,
        blur=0.015,
        hairs=4,
    ),
    distillation=0.6,
    epochs=6,
    learning_rate=5e-4,
    schedule="cosine",
    warmup_epochs=1,
    ema=0.995,
    keep="last",
    best_by="macro_auc",
    search={
        "learning_rate": Log(1e-4, 3e-3),
        "dropout": Between(0.1, 0.6),
        "distillation": Between(0.3, 0.9),
        "ema": OneOf(0.0, 0.99, 0.995, 0.999),
        "mixup": Between(0.0, 0.4),
    },
)

SKIN_EDGE_SMALL = replace(
    SKIN_EDGE_DEFAULT,
    name="skin-edge-small",
    summary="MobileNet 0.5 at 128 px from ImageNet, for microcontrollers and old phones; skin-edge-default's "
    "augmentation, stronger; learns from a larger network (--teacher) and from pictures of two sizes (--also); "
    "docs/experiments.md has the sequence; the result is that of convert --int8 --logit-shift 0.5",
    expected="0.778 accuracy, 0.709 balanced",
    hours=1,
    width=0.5,
    image_size=(128, 128),
    augmentation=replace(
        SKIN_EDGE_DEFAULT.augmentation,
        zoom=0.4,
        resolution=0.5,
        compression=0.75,
        noise=4,
        light=1.2,
        temperature=50.0,
        frame=0.35,
        blur=0.03,
        hairs=8,
    ),
    distillation=0.7,
    epochs=16,
    learning_rate=1e-3,
)

QUICKSTART = Recipe(
    name="quickstart",
    summary="a small MobileNet from scratch, for the synthetic images of skin-edge quickstart",
    source="this project",
    expected="says nothing about real lesions",
    hours=0.3,
    width=0.25,
    image_size=(64, 64),
    weights="none",
    unfreeze=None,
    batch_norm_momentum=0.9,
    dropout=0.2,
    augmentation=replace(_FLIPS, rotation=180, zoom=0.1, shift=0.05),
    epochs=30,
    batch_size=16,
    learning_rate=2e-3,
    search={
        "learning_rate": Log(2e-4, 2e-2),
        "dropout": Between(0.0, 0.5),
        "batch_size": OneOf(8, 16, 32),
        "schedule": OneOf("plateau", "cosine"),
    },
)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        NN_BASIC,
        CNN_BASIC,
        CNN_AUGMENTED,
        MOBILENET,
        RESNET50,
        DENSENET121,
        MOBILENET_ENHANCED,
        MOBILENET_ENHANCED_PUBLISHED,
        MOBILENET_BALANCED,
        SKIN_EDGE_DEFAULT,
        SKIN_EDGE_SMALL,
        CNN_IMAGES,
        CNN_RESIDUAL_METADATA,
        CNN_METADATA_AUGMENTED,
        MOBILENET_METADATA,
        MOBILENET_RECALL,
        EFFICIENTNET_B3,
        ANN_FEATURES,
        CNN_128,
        CNN_DROPOUT_224,
        MOBILENETV2,
        RESNET50_FROZEN,
        RESNET50_FINETUNED,
        EFFICIENTNETV2,
        INCEPTIONRESNETV2,
        MOBILENETV3,
        CNN_MALIGNANT,
        CNN_METADATA_MALIGNANT,
        METADATA_LINEAR,
        METADATA_MLP,
        MOBILENETV2_MALIGNANT,
        RESNET50_MALIGNANT,
        MALIGNANT_CLASSES_FROZEN,
        MALIGNANT_CLASSES_UNFROZEN,
        QUICKSTART,
    )
}


DEFAULT = "mobilenet-balanced"


def get(name: str) -> Recipe:
    """The recipe of that name. Raises UnknownNameError, which lists the known ones."""
    if name not in RECIPES:
        raise UnknownNameError("recipe", name, RECIPES)
    return RECIPES[name]
