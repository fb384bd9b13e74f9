"""Keep-alives as people type them."""

import pytest

from custom_components.ollama_vision.model_server.keep_alive import InvalidKeepAliveError, parse_keep_alive

KEEP_ALIVE: list[tuple[float | str, float | str]] = [
    ("-1", -1),
    (-1, -1),
    (-1.0, -1),
    ("0", 0),
    (0, 0),
    ("0s", 0),
    ("0h0m", 0),
    ("-0", 0),
    ("30", 30),
    (" 30 ", 30),
    ("30.0", 30),
    ("30.5", 30.5),
    (300, 300),
    ("5m", "5m"),
    (" 5m ", "5m"),
    ("1h30m", "1h30m"),
    ("1.5h", "1.5h"),
    ("2562047h", "2562047h"),
    (".5h", ".5h"),
    ("1h1m1s1ms1us1ns", "1h1m1s1ms1us1ns"),
    ("10µs", "10µs"),
    ("+5m", "+5m"),
    ("-1m", "-1m"),
]


def test_keep_alive() -> None:
    """Seconds become numbers, whole ones integers; durations stay as they are; zero is 0."""
    forms = [(typed, parse_keep_alive(typed)) for typed, _ in KEEP_ALIVE]
    assert forms == KEEP_ALIVE
    assert [type(form) for _, form in forms] == [type(sent) for _, sent in KEEP_ALIVE]


def test_nonsense() -> None:
    """What Ollama would refuse, or misunderstand, is refused before it is sent."""
    words: list[float | str] = [
        "",
        " ",
        "abc",
        "5min",
        "5 m",
        "1d",
        "5M",
        "m",
        "-",
        ".",
        ".m",
        "1h30",
        "--1",
        "1e3",
        "1_000",
        "٣",
        "٣m",
    ]
    too_long: list[float | str] = [
        "nan",
        "inf",
        "forever",
        "1,5h",
        "1000000000000",
        "2562048h",
        "-2562048h",
        1e12,
        "٣",
        "٣m",
    ]
    for typed in (*words, *too_long, True, False, float("nan"), float("inf")):
        with pytest.raises(InvalidKeepAliveError):
            pytest.fail(f"{typed!r} is {parse_keep_alive(typed)!r}")
