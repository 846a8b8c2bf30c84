"""Hypothesis strategies for what nobody means to write: odd numbers, odd texts, odd TOML."""

from typing import Any

from hypothesis import strategies as st

from campaign.keys import Key

NUMBERS = (
    *("0", "-1", "1", "2", "3", "5", "7", "16", "257", "1e3", "1e999", "-1e999", "nan", "-nan", "inf", "-inf", "0x10"),
    *(
        "1_0",
        "0.5",
        "1.5",
        "1e-300",
        "5e-324",
        "2147483648",
        "4294967296",
        "9223372036854775807",
        "9223372036854775808",
    ),
    *("18446744073709551616", "1000000000000", "1099511627776", "-9223372036854775809", "1784000000000000000", "1e400"),
    *("9" * 400, "9" * 5000, "1" * 4301, "0." + "3" * 2000, "+3", "٣", "1,5", "1e", "--5", "0b101", "\uff11\uff12"),
)
TEXTS = (
    *(
        "",
        " ",
        "None",
        "null",
        "true",
        "False",
        "[]",
        "{}",
        "[1, 2]",
        "[1, [2]]",
        '""',
        '"""',
        "'",
        "=",
        "a=b",
        "[",
        "]",
    ),
    *("[" * 2000, "{a=" * 500, '"' * 999, "\\", "%s", "{0}", "$HOME", "`id`", "[bold]x[/bold]", "[/]", ":smile:", "\t"),
    *(
        "\x1b[31mred",
        "\r",
        "a\nb",
        "é",
        "日本語",
        "\u202e",
        "\ufeff",
        "\U0001f40d",
        "\ud800",
        "\udcff",
        "x" * 300,
        "x" * 5000,
    ),
    *("auto", "cpu", "meta", "cuda", "cuda:99", "mps", "cpu:0", "cpu:7", "mkldnn", "xla", "int8", "bfloat16", "float8"),
)
PATHS = (
    *(
        "nowhere",
        "nowhere/deep/er",
        "notes.txt",
        "notes.txt/below",
        "corpus",
        "corpus/train/0.txt",
        "empty",
        "run",
        "other",
    ),
    *(
        "run/config.toml",
        "run/checkpoint-0/rank-0.safetensors",
        "recipe.toml",
        "wrong.toml",
        "data.bin",
        ".",
        "..",
        "./out",
        "out",
    ),
    *("out/a/b", "/dev/null", "/dev/full", "/proc/nothing", "~nobody/x", "new", "a b", "é.toml", "-", "--", "x" * 300),
    *("out\udcff", "out\n2", "run/", "empty/../new", "stdlib-small", "tiny", "recipe", "/" + "d/" * 3000),
)


def numbers() -> st.SearchStrategy[str]:
    """Numbers as text: at the edges, beyond them, and such that are none."""
    some = st.one_of(st.integers(-10, 100), st.integers(), st.floats(), st.integers(-(1 << 80), 1 << 80))
    return st.sampled_from(NUMBERS) | some.map(str)


def texts() -> st.SearchStrategy[str]:
    """Any text a command line can hold: no NUL, and no slash, since a path of chance may lead anywhere."""
    free = st.text(st.characters(exclude_characters="\0/~"), max_size=12)
    return st.sampled_from(TEXTS) | free


def paths() -> st.SearchStrategy[str]:
    """Places in the world of a case and some beside it; none that would do harm."""
    return st.sampled_from(PATHS)


def anything() -> st.SearchStrategy[str]:
    """A value for any key or option."""
    return st.one_of(numbers(), texts(), paths())


def value_of(key: Key) -> st.SearchStrategy[str]:
    """A value that a key takes, such that what is accepted is done at once; or one that is of its kind and odd."""
    good: st.SearchStrategy[str] = st.sampled_from(key.choices) if key.choices else texts()
    if key.kind in ("integer", "number"):
        good = st.sampled_from(("1", "2", "3", "4", "8", "16", "0.1", "0.5"))
    elif key.kind == "boolean":
        good = st.sampled_from(("true", "false"))
    return st.one_of(good, good, numbers() if key.kind in ("integer", "number") else anything(), anything())


def tree_values() -> st.SearchStrategy[Any]:
    """Any value of TOML, as Python has it."""
    plain = st.one_of(
        st.integers(-(1 << 62), 1 << 62), st.floats(), st.booleans(), st.text(max_size=8), st.dates(), st.datetimes()
    )
    nested = st.lists(plain, max_size=4) | st.dictionaries(st.text(max_size=5), plain, max_size=3)
    return st.one_of(plain, nested, st.sampled_from((0, 1, 2, 1 << 40, 10**12, -1, 1e308, 0.5, "exact", "hnsw", "")))
