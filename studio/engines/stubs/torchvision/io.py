"""Names that transformers.image_utils imports."""

from enum import Enum

from torchvision import absent


class ImageReadMode(Enum):
    UNCHANGED = 0
    GRAY = 1
    GRAY_ALPHA = 2
    RGB = 3
    RGB_ALPHA = 4


decode_image = read_image = absent
