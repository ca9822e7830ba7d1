"""Composites: pictures like photographs with exact masks, made of cut-outs, textures and stuff."""
