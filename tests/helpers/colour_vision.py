"""How colours look to people who see fewer of them, and how far apart they then are."""

from collections.abc import Mapping, Sequence

import numpy as np

Colour = np.ndarray
"""Three numbers."""

# Machado, Oliveira, Fernandes (2009), "A Physiologically-based Model for Simulation of Color Vision Deficiency": the
# matrices of severity 1.0, which apply to linear RGB.
VISIONS: Mapping[str, np.ndarray] = {
    "all colours": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
WHITE = TO_XYZ.sum(1)


def linear(colour: str) -> Colour:
    """``#rrggbb`` as linear RGB."""
    srgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def lab(rgb: Colour) -> Colour:
    """Linear RGB in CIELAB, where distances are about what the eye makes of them."""
    ratio = np.clip(TO_XYZ @ np.clip(rgb, 0, 1) / WHITE, 0, None)
    x, y, z = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def seen(colour: str, vision: str) -> Colour:
    """What somebody with that vision sees, in CIELAB."""
    return lab(VISIONS[vision] @ linear(colour))


def nearest(colours: Sequence[str], vision: str) -> float:
    """The least distance in CIELAB of any two of the colours."""
    places = [seen(colour, vision) for colour in colours]
    return min(float(np.linalg.norm(a - b)) for i, a in enumerate(places) for b in places[:i])


def contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2: 1 of equal lightness, 21 of black and white; 3 is asked of graphics."""
    low, high = sorted(float(TO_XYZ[1] @ linear(colour)) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)
