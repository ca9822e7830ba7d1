"""A chat model trained on records, or the embedded one on stickers: `lavallama train llava`."""
