"""Regions of a photograph, found by colour: what stands in for segments where nobody drew any.

Graph-based segmentation (Felzenszwalb and Huttenlocher, "Efficient Graph-Based Image
Segmentation", IJCV 59(2), 2004), then neighbours that look most alike are joined step by step, so
that the coarse regions are made of whole fine ones.
"""

import cv2
import numpy as np

__all__ = ["add_regions"]

SIDE = 560  # pixels of the longer side at which regions are found
MOST_FINE, MOST_COARSE = 120, 18  # regions of a photograph
SCALE = 300.0  # "k" of the paper, in units of CIELAB distance
BLUR = 0.8  # sigma, in pixels; the paper's


def add_regions(photograph: np.ndarray) -> np.ndarray:
    """Put region maps behind a photograph's colours.

    Args:
        photograph: RGB, uint8 [H, W, 3].

    Returns:
        uint8 [H, W, 5]: RGB, fine regions, coarse regions; labels from 1.
    """
    height, width = photograph.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    small = cv2.resize(photograph, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    labels = _split_graph(cv2.GaussianBlur(lab, (0, 0), BLUR))
    fine = _merge(lab, labels, MOST_FINE)
    coarse = _merge(lab, fine, MOST_COARSE)
    maps = np.dstack([fine, coarse]).astype(np.uint8) + 1
    maps = cv2.resize(maps, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.dstack([photograph, maps])


def _split_graph(lab: np.ndarray) -> np.ndarray:
    """Labels int32 [H, W] from 0 of the paper's algorithm over 8-neighbours."""
    height, width = lab.shape[:2]
    index = np.arange(height * width).reshape(height, width)
    pairs, weights = [], []
    for rows, columns in ((0, 1), (1, 0), (1, 1), (1, -1)):
        here = (slice(0, height - rows), slice(max(0, -columns), width - max(0, columns)))
        there = (slice(rows, height), slice(max(0, columns), width + min(0, columns)))
        pairs.append(np.stack([index[here].ravel(), index[there].ravel()], 1))
        weights.append(np.linalg.norm(lab[here] - lab[there], axis=2).ravel())
    joined, cost = np.concatenate(pairs), np.concatenate(weights)
    order = np.argsort(cost, kind="stable")
    parent = list(range(height * width))
    size = [1] * (height * width)
    bound = [SCALE] * (height * width)
    for (a, b), weight in zip(joined[order].tolist(), cost[order].tolist(), strict=True):
        while parent[a] != a:
            parent[a] = a = parent[parent[a]]
        while parent[b] != b:
            parent[b] = b = parent[parent[b]]
        if a != b and weight <= bound[a] and weight <= bound[b]:
            if size[a] < size[b]:
                a, b = b, a
            parent[b] = a
            size[a] += size[b]
            bound[a] = weight + SCALE / size[a]
    roots = np.asarray(parent)
    while (roots[roots] != roots).any():
        roots = roots[roots]
    return np.unique(roots, return_inverse=True)[1].reshape(height, width).astype(np.int32)


def _merge(lab: np.ndarray, labels: np.ndarray, most: int) -> np.ndarray:
    """Join the two neighbours that cost least until at most `most` regions are left.

    The cost is Ward's: the distance of their mean colours times the square root of half the
    harmonic mean of their areas, so that specks go first.
    """
    count = int(labels.max()) + 1
    area = np.bincount(labels.ravel(), minlength=count).astype(np.float64)
    flat = labels.ravel()
    mean = np.stack([np.bincount(flat, lab[..., c].ravel(), count) for c in range(3)], 1)
    mean /= area[:, None]
    near: list[set[int]] = [set() for _ in range(count)]
    for one, other in ((labels[:, 1:], labels[:, :-1]), (labels[1:], labels[:-1])):
        differ = one != other
        for a, b in np.unique(np.stack([one[differ], other[differ]], 1), axis=0).tolist():
            near[a].add(b)
            near[b].add(a)
    parent = np.arange(count)
    alive = set(range(count))

    def cheapest(a: int) -> tuple[float, int]:
        others = np.fromiter(near[a], int)
        shared = area[a] * area[others] / (area[a] + area[others])
        costs = (np.linalg.norm(mean[a] - mean[others], axis=1) + 1) * np.sqrt(shared)
        best = int(costs.argmin())
        return float(costs[best]), int(others[best])

    best = {a: cheapest(a) for a in alive if near[a]}
    while len(alive) > most and best:
        a = min(best, key=lambda key: (best[key][0], key))
        b = best[a][1]
        total = area[a] + area[b]
        mean[a] = (mean[a] * area[a] + mean[b] * area[b]) / total
        area[a] = total
        parent[b] = a
        alive.discard(b)
        best.pop(b, None)
        for other in near[b]:
            near[other].discard(b)
            if other != a:
                near[other].add(a)
                near[a].add(other)
        near[b] = set()
        best[a] = cheapest(a) if near[a] else (np.inf, a)
        for other in near[a]:
            best[other] = cheapest(other)
    while (parent[parent] != parent).any():
        parent = parent[parent]
    return np.unique(parent[labels], return_inverse=True)[1].reshape(labels.shape)
