"""Finding: a picture and prompts in, masks out."""
