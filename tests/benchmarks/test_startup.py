"""The benchmark of start-up times what it says, by a command that costs little."""

import json

from benchmarks import startup


def test_what_is_left_beside_the_model_is_compared_with_torch(monkeypatch, capsys):
    seconds = {"-c": 2.0, "-m": 5.0}
    monkeypatch.setattr(startup, "_timed", lambda first, *words: seconds[first])
    monkeypatch.setattr(startup, "_model_time", lambda name, words: 1.0)
    monkeypatch.setattr("sys.argv", ["startup", "--rounds", "1"])
    assert startup.main() == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])["startup"]
    assert report["segment"] == {"seconds": 5.0, "model": 1.0, "ratio": 2.0}
    assert set(report) == {"torch", *startup.COMMANDS}
