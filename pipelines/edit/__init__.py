"""Editing a document and its picture, step by step.

    session = EditSession.open("llama.png")
    session.select("lava llama")
    session.move(0.2, 0.1)
    session.replace("ice cat", seed=3)
    session.save("out/edit")

`pipelines.edit.session` has the class; `lavallama edit` and `python -m pipelines.edit` the command.
"""
