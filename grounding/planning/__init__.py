"""From what a caption asks for to a layout: read it, lay it out, check it, mend it."""
