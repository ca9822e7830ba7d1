"""Three-dimensional models (Wavefront OBJ), seen from any side: cut-outs with shading and parts.

Triangles are filled row by row, all rows at once; where several lie, the nearest is seen.
"""

import dataclasses
from collections.abc import Callable, Mapping

import cv2
import numpy as np

__all__ = ["Model", "View", "draw_view", "read_model", "render_model"]

MOST_FACES = 25_000
TEXTURE_SIDE = 512  # pixels of a texture's longer side, at most
OVERSAMPLING = 2
SMOOTH = 0.5  # cosine of the angle below which an edge looks round
CUT = 0.5  # alpha of a texture below which there is a hole
MOST_PARTS = 7
SMALLEST_PART = 0.02  # share of what is seen


@dataclasses.dataclass(frozen=True)
class Material:
    """How a surface looks: its colour in [0, 1] or texture uint8 [H, W, 3 or 4], and its shine."""

    colour: np.ndarray
    texture: np.ndarray | None = None
    shine: float = 0.0


@dataclasses.dataclass(frozen=True)
class Model:
    """Triangles.

    Attributes:
        corners: float32 [T, 3, 3]; y is up, the model lies within the unit ball.
        normals: float32 [T, 3, 3].
        places: Texture coordinates, float32 [T, 3, 2].
        surfaces: Of which material each is, int [T].
        materials: What they are made of.
    """

    corners: np.ndarray
    normals: np.ndarray
    places: np.ndarray
    surfaces: np.ndarray
    materials: tuple[Material, ...]


@dataclasses.dataclass(frozen=True)
class View:
    """Where a model is seen from, and how it is lit.

    Attributes:
        turn: About the upright axis, in radians.
        tilt: From above, in radians.
        distance: Of the eye, in radii of the model.
        light: Direction towards the light, [3], in the eye's frame.
        ambient: Share of the light that comes from all sides.
    """

    turn: float
    tilt: float
    distance: float
    light: tuple[float, float, float]
    ambient: float


def draw_view(generator: np.random.Generator) -> View:
    """Draw a view: from any side, mostly from a little above."""
    light = generator.normal((0, 1, 0.8), 0.6)
    light /= np.linalg.norm(light)
    return View(
        turn=generator.uniform(-np.pi, np.pi),
        tilt=float(np.clip(generator.normal(0.3, 0.25), -0.1, 1.2)),
        distance=generator.uniform(2.5, 6),
        light=(float(light[0]), float(light[1]), float(light[2])),
        ambient=generator.uniform(0.3, 0.7),
    )


def read_model(text: str, materials: str, read: Callable[[str], bytes | None]) -> Model | None:
    """Read an OBJ file.

    Args:
        text: It.
        materials: Its MTL file; may be empty.
        read: Gives the bytes of a texture by its name, None if there is none.

    Returns:
        None: it has no faces, or too many.
    """
    if text.count("\nf ") > MOST_FACES:
        return None
    known = _read_materials(materials, read)
    names = {name: number for number, name in enumerate(known)}
    lines = [line.split() for line in text.splitlines()]
    points = [words[1:4] for words in lines if words[:1] == ["v"]]
    places = [words[1:3] for words in lines if words[:1] == ["vt"]]
    faces: list[tuple[int, list[tuple[int, int]]]] = []
    current, points_so_far, places_so_far = len(known), 0, 0
    for words in lines:
        if not words:
            continue
        if words[0] == "f":
            corners = [
                (_index(point, points_so_far), _index(place, places_so_far))
                for point, place, *_ in (f"{word}//".split("/") for word in words[1:])
            ]
            faces.append((current, corners))
        elif words[0] == "v":
            points_so_far += 1
        elif words[0] == "vt":
            places_so_far += 1
        elif words[0] == "usemtl":
            current = names.get(" ".join(words[1:]), len(known))
    if not faces or not points:
        return None
    return _build(points, places, faces, (*known.values(), Material(np.full(3, 0.6))))


def _index(said: str, so_far: int) -> int:
    """A place in a list from OBJ's, which counts from 1, or back from the last; -1: none."""
    number = int(said or 0)
    return number - 1 if number > 0 else so_far + number if number else -1


def _build(
    points: list[list[str]],
    places: list[list[str]],
    faces: list[tuple[int, list[tuple[int, int]]]],
    materials: tuple[Material, ...],
) -> Model:
    fans = [
        (surface, (corners[0], corners[i], corners[i + 1]))
        for surface, corners in faces
        for i in range(1, len(corners) - 1)
    ]
    surfaces = np.asarray([surface for surface, _ in fans])
    index = np.asarray([corners for _, corners in fans])
    where = np.asarray(points, np.float32)
    corners = where[index[..., 0]]
    uv = np.asarray([*places, [0, 0]], np.float32)[index[..., 1]]
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    round_ = np.zeros_like(where)
    for corner in range(3):
        np.add.at(round_, index[:, corner, 0], flat)
    smooth = _unit(round_)[index[..., 0]]
    flat = np.repeat(_unit(flat)[:, None], 3, 1)
    agree = (smooth * flat).sum(2, keepdims=True) > SMOOTH
    used = corners.reshape(-1, 3)
    middle = (used.min(0) + used.max(0)) / 2
    radius = float(np.linalg.norm(used - middle, axis=1).max()) or 1.0
    return Model(
        (corners - middle) / radius, np.where(agree, smooth, flat), uv, surfaces, materials
    )


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def _read_materials(text: str, read: Callable[[str], bytes | None]) -> Mapping[str, Material]:
    found: dict[str, Material] = {}
    name = ""
    for line in text.splitlines():
        word, _, rest = line.strip().partition(" ")
        rest = rest.strip()
        if word == "newmtl":
            name = rest
            found[name] = Material(np.full(3, 0.6, np.float32))
        elif not name:
            continue
        elif word == "Kd":
            colour = np.asarray([float(value) for value in rest.split()[:3]], np.float32)
            if len(colour) == 3:
                found[name] = dataclasses.replace(found[name], colour=colour)
        elif word == "Ks":
            shine = float(np.mean([float(value) for value in rest.split()[:3]]))
            found[name] = dataclasses.replace(found[name], shine=min(shine, 1.0))
        elif word == "map_Kd":
            texture = _read_texture(read(rest))
            found[name] = dataclasses.replace(found[name], texture=texture)
    return found


def _read_texture(data: bytes | None) -> np.ndarray | None:
    if data is None:
        return None
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if picture is None or picture.dtype != np.uint8:
        return None
    if picture.ndim == 2:
        picture = cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)
    scale = TEXTURE_SIDE / max(picture.shape[:2])
    if scale < 1:
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    order = [2, 1, 0, 3][: picture.shape[2]]
    return np.ascontiguousarray(picture[..., order])


def render_model(model: Model, view: View, side: int) -> np.ndarray | None:
    """See a model.

    Args:
        model: It.
        view: From where.
        side: Pixels of a square that it fits into.

    Returns:
        uint8 [H, W, 5], trimmed: RGB, alpha, parts from 1 (its materials' connected areas, largest
        first; 1 is all that is left over). None: nothing is seen.
    """
    canvas = side * OVERSAMPLING
    turned = _turn(view)
    corners, normals = model.corners @ turned.T, model.normals @ turned.T
    depth = view.distance - corners[..., 2]
    flat = corners[..., :2] / depth[..., None] * (1, -1)
    low, high = flat.reshape(-1, 2).min(0), flat.reshape(-1, 2).max(0)
    scale = (canvas - 4) / max(float((high - low).max()), 1e-6)
    spots = ((flat - low) * scale + 2).astype(np.float32)
    pixels, triangles, weights = _scan(model, spots, depth.astype(np.float32), canvas)
    if not len(pixels):
        return None
    colours = _shade(model, normals, triangles, weights, view)
    image = np.zeros((canvas * canvas, 4), np.float32)
    image[pixels, :3], image[pixels, 3] = colours, 255
    kinds = np.zeros(canvas * canvas, np.int32)
    kinds[pixels] = model.surfaces[triangles] + 1
    image = image.reshape(canvas, canvas, 4)
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    small[..., :3] /= np.maximum(small[..., 3:] / 255, 1e-3)
    parts = _number_parts(kinds.reshape(canvas, canvas)[::OVERSAMPLING, ::OVERSAMPLING])
    parts[(parts == 0) & (small[..., 3] > 0)] = 1
    parts[small[..., 3] == 0] = 0
    result = np.dstack([np.clip(np.round(small), 0, 255).astype(np.uint8), parts])
    rows, columns = (np.flatnonzero(result[..., 3].any(axis)) for axis in (1, 0))
    return result[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _turn(view: View) -> np.ndarray:
    c, s = np.cos(view.turn), np.sin(view.turn)
    about_y = np.asarray([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    c, s = np.cos(view.tilt), np.sin(view.tilt)
    return (np.asarray([[1, 0, 0], [0, c, -s], [0, s, c]]) @ about_y).astype(np.float32)


def _scan(
    model: Model, spots: np.ndarray, depth: np.ndarray, canvas: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the nearest triangle at each pixel, row by row of each triangle.

    Args:
        model: For the holes in its textures.
        spots: Corners (x, y) in pixels, float32 [T, 3, 2]; all lie on the canvas.
        depth: Of the corners, float32 [T, 3].
        canvas: Pixels a side.

    Returns:
        Pixels int [P], triangles int [P] and barycentric weights float32 [P, 3].
    """
    rows = spots[..., 1]
    top = np.ceil(np.minimum.reduce([rows[:, 0], rows[:, 1], rows[:, 2]]) - 0.5).astype(np.int32)
    bottom = np.maximum.reduce([rows[:, 0], rows[:, 1], rows[:, 2]])
    owner, step = _spread(np.maximum(np.floor(bottom - 0.5).astype(np.int32) - top + 1, 0))
    row = top[owner] + step
    left, right = _span(spots[owner], row + np.float32(0.5))
    start = np.ceil(left - 0.5).astype(np.int32)
    span, step = _spread(np.maximum(np.ceil(right - 0.5).astype(np.int32) - start, 0))
    triangles, row, column = owner[span], row[span], start[span] + step
    kept = np.flatnonzero(~_holes(model, spots, triangles, column, row))
    if len(kept) < len(triangles):
        triangles, row, column = triangles[kept], row[kept], column[kept]
    flat = _planes(spots, depth)[triangles]
    near = (flat[:, 0] * column + flat[:, 1] * row + flat[:, 2]).astype(np.float32)
    pixels = row * canvas + column
    nearest = np.full(canvas * canvas, np.inf, np.float32)
    np.minimum.at(nearest, pixels, near)
    seen = np.flatnonzero(near == nearest[pixels])
    winner = np.full(canvas * canvas, -1)
    winner[pixels[seen]] = seen
    winner = winner[winner >= 0]
    triangles, row, column = triangles[winner], row[winner], column[winner]
    weights = _weigh(spots[triangles], column + np.float32(0.5), row + np.float32(0.5))
    return pixels[winner], triangles, weights


def _planes(spots: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Depth at pixel (x, y) as x, y and constant coefficients, float32 [T, 3]."""
    a, b, c = spots[:, 0], spots[:, 1], spots[:, 2]
    ab, ac = (b - a).astype(np.float64), (c - a).astype(np.float64)
    rise_b, rise_c = depth[:, 1] - depth[:, 0], depth[:, 2] - depth[:, 0]
    total = ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]
    total = np.where(np.abs(total) < 1e-3, np.inf, total)  # slivers are as deep as one corner
    of_x = (rise_b * ac[:, 1] - rise_c * ab[:, 1]) / total
    of_y = (rise_c * ab[:, 0] - rise_b * ac[:, 0]) / total
    constant = depth[:, 0] - of_x * (a[:, 0] - 0.5) - of_y * (a[:, 1] - 0.5)
    return np.stack([of_x, of_y, constant], 1).astype(np.float32)


def _spread(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of `counts` [N] items each: whose each item is, and the how manieth of it, int [sum]."""
    owner = np.repeat(np.arange(len(counts)), counts)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)


def _span(corners: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where rows enter and leave their triangles [R, 3, 2]: x float32 [R] each."""
    left = np.full(len(y), np.inf, np.float32)
    right = np.full(len(y), -np.inf, np.float32)
    for i in range(3):
        p, q = corners[:, i], corners[:, (i + 1) % 3]
        crosses = (p[:, 1] <= y) != (q[:, 1] <= y)
        rise = np.where(crosses, q[:, 1] - p[:, 1], 1)
        x = p[:, 0] + (y - p[:, 1]) * (q[:, 0] - p[:, 0]) / rise
        left = np.where(crosses, np.minimum(left, x), left)
        right = np.where(crosses, np.maximum(right, x), right)
    none = left > right
    return np.where(none, 0, left), np.where(none, 0, right)


def _weigh(corners: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Barycentric weights float32 [P, 3] of points in their triangles [P, 3, 2]."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    total = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    total = np.where(np.abs(total) < 1e-6, 1e-6, total)
    of_b = ((x - a[:, 0]) * (c[:, 1] - a[:, 1]) - (y - a[:, 1]) * (c[:, 0] - a[:, 0])) / total
    of_c = ((b[:, 0] - a[:, 0]) * (y - a[:, 1]) - (b[:, 1] - a[:, 1]) * (x - a[:, 0])) / total
    weights = np.clip(np.stack([1 - of_b - of_c, of_b, of_c], 1), 0, 1).astype(np.float32)
    return weights / np.maximum(weights.sum(1, keepdims=True), 1e-6)


def _holes(
    model: Model, spots: np.ndarray, triangles: np.ndarray, x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """Where a texture is transparent, bool [P]."""
    holes = np.zeros(len(triangles), bool)
    for number, material in enumerate(model.materials):
        if material.texture is not None and material.texture.shape[2] == 4:
            mine = np.flatnonzero(model.surfaces[triangles] == number)
            own = triangles[mine]
            half = np.float32(0.5)
            weights = _weigh(spots[own], x[mine] + half, y[mine] + half)
            holes[mine] = _look_up(model, material.texture, own, weights)[:, 3] < CUT * 255
    return holes


def _look_up(
    model: Model, texture: np.ndarray, triangles: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    height, width = texture.shape[:2]
    uv = np.einsum("pnc,pn->pc", model.places[triangles], weights)
    column = np.floor(np.nan_to_num(uv[:, 0]) * width).astype(int) % width
    row = np.floor(-np.nan_to_num(uv[:, 1]) * height).astype(int) % height
    return texture[row, column]


def _shade(
    model: Model, normals: np.ndarray, triangles: np.ndarray, weights: np.ndarray, view: View
) -> np.ndarray:
    """Colours float32 [P, 3] under one light and the sky (Blinn-Phong)."""
    normal = _unit(np.einsum("pnc,pn->pc", normals[triangles], weights))
    normal[normal[:, 2] < 0] *= -1  # surfaces have two sides
    light = np.asarray(view.light, np.float32)
    half = _unit(light + np.asarray([0, 0, 1], np.float32))
    lit = np.maximum(normal @ light, 0)
    gloss = np.maximum(normal @ half, 0) ** 24
    sky = 0.75 + 0.25 * normal[:, 1]
    surfaces = model.surfaces[triangles]
    colours = np.zeros((len(triangles), 3), np.float32)
    for number, material in enumerate(model.materials):
        mine = np.flatnonzero(surfaces == number)
        if not len(mine):
            continue
        if material.texture is None:
            own = np.clip(material.colour, 0.02, 1) ** 0.6 * 255  # MTL's colours are linear
        else:
            own = _look_up(model, material.texture, triangles[mine], weights[mine])[:, :3]
        bright = view.ambient * sky[mine] + (1.15 - view.ambient) * lit[mine]
        colours[mine] = own * bright[:, None] + 200 * material.shine * gloss[mine, None]
    return colours


def _number_parts(kinds: np.ndarray) -> np.ndarray:
    """Number the large connected areas of each material, uint8 [H, W]: from 2, largest first."""
    total = int((kinds > 0).sum())
    found = []
    for kind in np.unique(kinds[kinds > 0]):
        mask = cv2.medianBlur((kinds == kind).astype(np.uint8), 3)
        _, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
        found += [
            (int(area), labels == i)
            for i, area in enumerate(stats[1:, cv2.CC_STAT_AREA], 1)
            if area > SMALLEST_PART * total
        ]
    parts = (kinds > 0).astype(np.uint8)
    found.sort(key=lambda one: -one[0])
    for number, (_, mask) in enumerate(found[:MOST_PARTS], 2):
        parts[mask & (kinds > 0)] = number
    return parts
