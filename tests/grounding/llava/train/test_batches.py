"""Epochs: every record once, kinds apart, like lengths together, from a seed alone."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from grounding.llava.train.batches import epoch_batches

RECORDS = st.lists(st.tuples(st.integers(1, 50), st.booleans()), min_size=1, max_size=60)


@given(RECORDS, st.integers(1, 7), st.booleans(), st.integers(0, 9))
@settings(max_examples=80, deadline=None)
def test_every_record_is_read_and_kinds_stay_apart(records, batch, grouped, seed):
    lengths, pictured = [r[0] for r in records], [r[1] for r in records]
    batches = epoch_batches(lengths, pictured, batch, grouped=grouped, seed=seed)
    assert batches == epoch_batches(lengths, pictured, batch, grouped=grouped, seed=seed)
    counts = Counter(number for chosen in batches for number in chosen)
    assert set(counts) == set(range(len(records)))
    assert {len(chosen) for chosen in batches} == {batch}
    if grouped:
        assert all(len({pictured[i] for i in chosen}) == 1 for chosen in batches)


def test_like_lengths_are_together_when_grouped():
    lengths = [i % 97 + 1 for i in range(400)]
    pictured = [True] * 400

    def spread(grouped):
        batches = epoch_batches(lengths, pictured, 8, grouped=grouped, seed=1)
        return sum(max(lengths[i] for i in b) - min(lengths[i] for i in b) for b in batches)

    assert spread(True) < spread(False) / 4


def test_epochs_differ():
    one, other = (
        epoch_batches(list(range(40)), [True] * 40, 4, grouped=True, seed=s) for s in (0, 1)
    )
    assert one != other
