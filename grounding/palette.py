"""Colours that can be told apart, on any picture and with every kind of colour vision."""

__all__ = [
    "HALO_ALPHA",
    "INK",
    "NEGATIVE",
    "PALETTE",
    "PAPER",
    "POSITIVE",
    "Color",
    "contrast",
    "region_color",
]

Color = tuple[int, int, int]

# Okabe and Ito, "Color Universal Design": told apart with every kind of colour vision.
PALETTE: tuple[Color, ...] = (
    (213, 94, 0),  # vermillion
    (86, 180, 233),  # sky blue
    (0, 158, 115),  # bluish green
    (240, 228, 66),  # yellow
    (204, 121, 167),  # reddish purple
    (0, 114, 178),  # blue
    (230, 159, 0),  # orange
)
INK: Color = (24, 24, 27)
PAPER: Color = (255, 255, 255)
HALO_ALPHA = 120  # of 255; a dark rim keeps lines and labels visible on any picture
POSITIVE: Color = (46, 204, 64)  # what a user marks as the object
NEGATIVE: Color = (230, 40, 40)  # what a user marks as beside it


def region_color(index: int) -> Color:
    """Return the RGB colour of the region at that place in the document."""
    return PALETTE[index % len(PALETTE)]


def contrast(color: Color) -> Color:
    """Return ink or paper, whichever has the higher WCAG contrast on the colour."""
    linear = [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (channel / 255 for channel in color)
    ]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return INK if (luminance + 0.05) ** 2 > 0.05 * 1.05 else PAPER
