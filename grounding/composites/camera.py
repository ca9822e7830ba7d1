"""What a camera does to a picture: focus, motion, exposure, noise, compression."""

import cv2
import numpy as np

from grounding.composites.surfaces import adjust_colours, log_uniform

__all__ = ["photograph", "defocus"]


def defocus(layers: np.ndarray, radius: float) -> np.ndarray:
    """Blur as a lens does, float32 [H, W, C]: points become discs of a radius in pixels."""
    side = int(np.ceil(radius)) * 2 + 1
    y, x = np.mgrid[0:side, 0:side] - side // 2
    disc = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)
    disc = (disc / disc.sum()).astype(np.float32)
    return cv2.filter2D(layers, -1, disc, borderType=cv2.BORDER_REFLECT_101)


def photograph(colours: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Take a picture of a scene.

    Args:
        colours: float32 [H, W, 3] in [0, 255].
        generator: Decides exposure, sharpness, noise and compression.

    Returns:
        uint8 [H, W, 3].
    """
    size = (colours.shape[1], colours.shape[0])
    colours = adjust_colours(colours, generator, 0.3)
    if generator.random() < 0.3:  # from black and white points that are not those of the scene
        low, high = np.percentile(colours[::4, ::4], (1, 99))
        if high - low > 20:
            stretched = (colours - low) * (235 / (high - low)) + 10
            colours = colours + (stretched - colours) * np.float32(generator.uniform(0, 1))
    mean = float(colours.mean())
    if not 75 < mean < 185 and generator.random() < 0.8:  # the exposure meter's part
        goal = generator.uniform(75, 165)
        gamma = np.log(goal / 255) / np.log(np.clip(mean, 8, 247) / 255)
        colours = np.clip(colours / 255, 1e-3, 1) ** np.float32(gamma) * 255
    sharpness = generator.random()
    if sharpness < 0.3:
        colours = cv2.GaussianBlur(colours, (0, 0), log_uniform(0.4, 1.6, generator))
    elif sharpness < 0.4:
        colours = _shake(colours, generator)
    elif sharpness < 0.6:  # a small picture made larger
        scale = generator.uniform(0.5, 0.9)
        colours = cv2.resize(colours, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        colours = cv2.resize(colours, size, interpolation=cv2.INTER_CUBIC)
    elif sharpness < 0.75:  # sharpened by the camera
        soft = cv2.GaussianBlur(colours, (0, 0), 1.2)
        colours = colours + (colours - soft) * np.float32(generator.uniform(0.2, 1))
    colours = np.clip(colours, 0, 255)
    strength = generator.uniform(0, 8) if generator.random() < 0.8 else 0.0
    if strength:  # more where it is bright, and a little of it in colour
        noise = generator.standard_normal((*colours.shape[:2], 1), dtype=np.float32)
        tint = generator.standard_normal(colours.shape, dtype=np.float32) * 0.5
        colours = colours + (noise + tint) * np.float32(strength) * (0.4 + colours / 255 * 0.6)
    result = np.clip(np.round(colours), 0, 255).astype(np.uint8)
    if generator.random() < 0.6:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(generator.integers(35, 96))]
        data = cv2.imencode(".jpg", result[..., ::-1], quality)[1]
        result = cv2.cvtColor(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR)), cv2.COLOR_BGR2RGB)
    return result


def _shake(colours: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Blur along a short line."""
    length, angle = generator.uniform(1, 3), generator.uniform(0, np.pi)
    side = int(np.ceil(length)) * 2 + 1
    kernel = np.zeros((side, side), np.float32)
    for step in np.linspace(-length, length, 33):
        y, x = step * np.sin(angle) + side // 2, step * np.cos(angle) + side // 2
        kernel[round(y), round(x)] += 1
    return cv2.filter2D(colours, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101)
