"""The HTTP API: segmentation for programs in any language."""
