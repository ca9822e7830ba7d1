"""What a chat model knows of pictures, measured: questions, how answers are read, scores."""
