"""The shared language: the prompt document, geometry, formats, attention and pictures."""
