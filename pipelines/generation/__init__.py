"""Drawing: a document and a model in, pictures out."""
