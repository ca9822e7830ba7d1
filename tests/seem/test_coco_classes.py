from seem.coco_classes import COCO_CLASSES


def test_there_are_coco_s_133_classes():
    assert len(COCO_CLASSES.things) == 80
    assert len(COCO_CLASSES.stuff) == 53
    assert len(set(COCO_CLASSES.names)) == 133
    assert COCO_CLASSES.things[0] == "person"
    assert COCO_CLASSES.things[79] == "toothbrush"
    assert (COCO_CLASSES.stuff[0], COCO_CLASSES.stuff[52]) == ("banner", "rug")
