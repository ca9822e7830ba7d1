"""Training: the sticker world's autoencoder and base model, and GLIGEN's gates on a frozen base."""
