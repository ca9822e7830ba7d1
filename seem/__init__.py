"""SEEM: promptable and panoptic segmentation with one decoder (arXiv 2304.06718)."""
