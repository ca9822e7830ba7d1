import json

from pipelines import environment


def test_it_says_what_a_bug_report_needs(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "a" / "b"))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert environment.main(["--json"]) == 0
    said = capsys.readouterr().out
    found = json.loads(said)
    assert found["packages"]["torch"].startswith("2.")
    assert found["device"] in ("cpu", "cuda")
    assert found["attention"] in ("sdpa", "xformers")
    assert found["dtype"] in ("float32", "float16", "bfloat16")
    assert found["cache"] == str(tmp_path / "a" / "b")
    assert found["logged in"] == "yes"
    assert "hf_secret" not in said


def test_for_people_it_is_lines(capsys, monkeypatch):
    for name in environment.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert environment.main([]) == 0
    said = capsys.readouterr().out
    assert said.startswith("software: lavallama")
    assert "\n  torch " in said
    assert "\nvariables: none\n" in said
