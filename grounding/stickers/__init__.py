"""The sticker world: a procedural source of scenes with exact boxes, masks, captions and answers.

The models that ship with lavallama learn from it, because it can be rendered anywhere, forever,
from a seed. The art is Noto Emoji (Apache-2.0) and Fluent Emoji (MIT).
"""

from grounding.stickers.scene import Rendered, Scene, Sticker, render
from grounding.stickers.world import PRESETS, World

__all__ = ["PRESETS", "Rendered", "Scene", "Sticker", "World", "render"]
