"""Raw pictures -> captions, phrases, boxes, masks -> training data: ``lavallama annotate``."""
