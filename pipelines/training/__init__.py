"""Training from the command line: the embedded models' stages, and models on your own data.

workshop    the stages of `lavallama train STAGE`
gligen      an adapter on pictures and what is where on them
llava       a chat model on records, and the embedded one
seem        the segmenter
sources     where examples come from; `grounding.drops` says which were left out
"""
