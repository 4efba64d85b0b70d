"""Traps of stack files and what the engine makes of them: read alike here, refused by both, or refused here alone."""

READ_AS_LOOKED: list[tuple[str, object]] = [
    ("[22:22, 1:30, 12:30:45]", ["22:22", "1:30", "12:30:45"]),
    ("{NO: NO, no: Off}", {"NO": "NO", "no": "Off"}),
    ("[yes, on, y, n, nULL, tRUE, =]", ["yes", "on", "y", "n", "nULL", "tRUE", "="]),
    ("[true, True, TRUE, ~, null, ]", [True, True, True, None, None]),
    ("[5, +5, -5, 0, 1e3, .5, 5., 1.50, 1E5]", [5, 5, -5, 0, 1000, 0.5, 5, 1.5, 100000]),
    ("[0o9, 1e400, 0x, 0x1p4, _1, 5#c]", ["0o9", "1e400", "0x", "0x1p4", "_1", "5#c"]),
    ("['010', \"true\", !!str 5, '2024-01-01', '~']", ["010", "true", "5", "2024-01-01", "~"]),
    ('["a\\e[31mb", "\\u0085", 😀]', ["a\x1b[31mb", "\x85", "😀"]),
    ("[&a {q: 1}, {<<: *a, b: 2}, {<<: [{a: 1}, {a: 2}], b: 2}, {<<: {a: 1}, a: 2}]",
     [{"q": 1}, {"q": 1, "b": 2}, {"a": 1, "b": 2}, {"a": 2}]),
    ("{5: a, true: b, 1.5: c}", {"5": "a", "true": "b", "1.5": "c"}),
    ("{a, b: }", {"a": None, "b": None}),
]  # fmt: skip
"""Values, and what they are here and there."""

REFUSED_BY_BOTH = {
    "twice at the top": "config:\n  a:a: 1\nconfig:\n  a:b: 2\n",
    "twice in the config": "config:\n  a:a: 1\n  a:a: 2\n",
    "twice below": "config:\n  a:a:\n    - zone: a\n      zone: b\n",
    "twice, once quoted": "config:\n  a:a: {1: a, '1': b}\n",
    "two merges": "config:\n  a:a: {<<: {a: 1}, <<: {b: 1}}\n",
    "merge of a number": "config:\n  a:a: {<<: 5}\n",
    "excessive aliases": "config:\n  a:a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"  a:{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefg", "bcdefgh", strict=True)),
    "too deep": f"config:\n  a:a: {'[' * 10001}{']' * 10001}\n",
    "no number": "config:\n  a:a: [.inf]\n",
    "bad tag": "config:\n  a:a: [!!int abc]\n",
    "bell": "config:\n  a:a: a\x07b\n",
    "escape": "config:\n  a:a: a\x1b[31mb\n",
    "DEL": "config:\n  a:a: a\x7fb\n",
    "C1": "config:\n  a:a: a\x9bb\n",
    "NUL": "config:\n  a:a: a\0b\n",
    "line separator": "config:\n  a:a: a\u2028b\n",
    "tab": "config:\n\ta:a: a\n",
    "tab after a dash": "config:\n  a:a:\n    -\tzone: a\n",
    "no anchor": "config:\n  a:a: *b\n",
    "anchor in itself": "config:\n  a:a: &a [*a]\n",
    "a list as key": "config:\n  a:a: {[a]: b}\n",
    "colons": "config:\n  a:b:c: d\n",
    "two on a line": "config:\n  a:a: b: c\n",
    "odd sign": "config:\n  a:a: @b\n",
    "surrogates": 'config:\n  a:a: "\\ud83d\\ude00"\n',
    "escaped slash": 'config:\n  a:a: "\\/"\n',
    "YAML 1.2": "%YAML 1.2\n---\nconfig: {}\n",
    "YAML 1.3": "%YAML 1.3\n---\nconfig: {}\n",
    "long key": f"config:\n  a:{'k' * 2000}: a\n",
    "no end": "config:\n  a:a: [1,,2]\n",
}

REFUSED_HERE = {
    "date": ("config:\n  a:a: 2024-01-01\n", 'quote it: "2024-01-01"'),
    "time": ("config:\n  a:a: [2001-12-14t21:59:43.10-05:00]\n", "makes a date with a time of it"),
    "octal": ("config:\n  a:a: 010\n", 'write 8, or "010"'),
    "octal of YAML 1.2": ("config:\n  a:a: 0o10\n", 'write 8, or "0o10"'),
    "leading zero": ("config:\n  a:a: 08\n", 'write 8, or "08"'),
    "hex": ("config:\n  a:a: -0x10\n", 'write -16, or "-0x10"'),
    "underscores": ("config:\n  a:a: 1_000\n", 'write 1000, or "1_000"'),
    "large": ("config:\n  a:a: 9007199254740993\n", "rounds so large a number"),
    "tag": ("config:\n  a:a: !!python/object/apply:os.system [ls]\n", "the tag !!python/object/apply:os.system"),
    "key null": ("config:\n  ~: a\n", "line 2: a key of a map is no text"),
    "second document": ("config: {}\n---\nconfig: {}\n", "line 2: a second document begins"),
    "misspelt top": ("cofnig:\n  a:a: b\n", "did you mean config?"),
    "foreign top": ("config: {}\nplugins: {}\n", "the engine would pass over it"),
    "two spellings": ("config:\n  sites: []\n  edge-inference:sites: []\n", "stands there twice"),
}
"""Texts, and a part of what is said of each. The engine reads them without a word."""
