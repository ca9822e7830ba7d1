"""JSON lines as other programs write them."""

import json

import pytest

from grounding.errors import PromptError
from grounding.jsonfile import read_json_lines

LINE = b'{"a": "b"}'


def written(tmp_path, data):
    path = tmp_path / "mine.jsonl"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
def test_lines_end_with_a_line_feed(mark, end, tmp_path):
    path = written(tmp_path, mark + LINE + end + end + LINE + end)
    assert list(read_json_lines(path)) == [(1, {"a": "b"}), (3, {"a": "b"})]


@pytest.mark.parametrize("within", ["\u2028", "\u2029", "\x85"])
def test_other_ends_of_lines_stay_in_their_strings(within, tmp_path):
    value = {"caption": f"one{within}two"}
    path = written(tmp_path, json.dumps(value, ensure_ascii=False).encode() + b"\n" + LINE)
    assert list(read_json_lines(path)) == [(1, value), (2, {"a": "b"})]


def test_a_line_that_makes_no_sense_costs_itself_alone(tmp_path):
    path = written(tmp_path, b"{broken}\n" + b"[" * 99 + b"\n" + LINE + b'\n{"a": "cut of')
    (_, broken), (_, deep), (_, value), (number, cut) = read_json_lines(path)
    assert isinstance(broken, PromptError)
    assert "is not valid JSON: expecting property name" in str(broken)
    assert "column 2" in str(broken)
    assert "deep" in str(deep)
    assert value == {"a": "b"}
    assert number == 4
    assert "unterminated string" in str(cut)
    assert "the file's last line, cut off?" in str(cut)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (LINE + b'\n{"a": "\xe4"}\n', r"mine.jsonl: line 2 is not UTF-8 text \(byte 7\)"),
        (b"\xff\xfe" + LINE, "line 1 is not UTF-8"),
        (b"\n \n", "mine.jsonl: is empty"),
        (LINE + b" " * 99 + b"\n", "line 1 has more than"),
    ],
)
def test_a_file_of_something_else_is_one_line(data, words, tmp_path):
    with pytest.raises(PromptError, match=words) as caught:
        list(read_json_lines(written(tmp_path, data), max_bytes=64))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(PromptError, match=r"gone.jsonl: no such file"):
        list(read_json_lines(tmp_path / "gone.jsonl"))
    with pytest.raises(PromptError, match="is a folder"):
        list(read_json_lines(tmp_path))
