"""The classes that SEEM was trained on: COCO's, of panoptic segmentation, as they are said.

Names and order are those of https://github.com/cocodataset/panopticapi
(panoptic_coco_categories.json) without the suffixes "-merged", "-other" and "-stuff".
"""

from seem.vocabulary import Vocabulary

__all__ = ["COCO_CLASSES"]

_THINGS = (
    *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat"),
    *("traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat"),
    *("dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack"),
    *("umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball"),
    *("kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket"),
    *("bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple"),
    *("sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair"),
    *("couch", "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse"),
    *("remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink"),
    *("refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier"),
    "toothbrush",
)
_STUFF = (
    *("banner", "blanket", "bridge", "cardboard", "counter", "curtain", "door", "floor-wood"),
    *("flower", "fruit", "gravel", "house", "light", "mirror", "net", "pillow", "platform"),
    *("playingfield", "railroad", "river", "road", "roof", "sand", "sea", "shelf", "snow"),
    *("stairs", "tent", "towel", "wall-brick", "wall-stone", "wall-tile", "wall-wood", "water"),
    *("window-blind", "window", "tree", "fence", "ceiling", "sky", "cabinet", "table", "floor"),
    *("pavement", "mountain", "grass", "dirt", "paper", "food", "building", "rock", "wall"),
    "rug",
)

COCO_CLASSES = Vocabulary(things=_THINGS, stuff=_STUFF)
"""80 things and 53 kinds of stuff."""
