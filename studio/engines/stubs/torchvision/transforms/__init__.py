"""Names that transformers' image processors import."""

from enum import Enum

from torchvision import absent


class InterpolationMode(Enum):
    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


Compose = Lambda = Normalize = Resize = ToTensor = absent
