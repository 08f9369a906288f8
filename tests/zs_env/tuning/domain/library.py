"""A little library of files: pages about mountains and a tool, and files that can't be read."""

from __future__ import annotations

import json
from pathlib import Path

from zs_env.tuning.domain.corpus import Passage

HANDBOOK = """---
title: "The lamp"
---
# The lamp

A lamp of the hut, described.

## Flags

| flag | default | what it is |
|---|---|---|
| `--power W` | `40` | how much power the lamp may draw |
| `--colour` | – | the colour of its light at night |

<!-- nobody reads this -->
`lamp.toml` holds the settings that the lamp reads when it starts.
It also blinks. Each lamp has 12 screws in its base.

```sh
lamp --power 3
```
"""

PAGE = """<html><head><title>Peaks | Site</title><style>p {}</style></head><body>
<nav><p>Home of all the pages that nobody searches</p></nav>
<div class="sidebar"><p>Another list of links to follow</p></div>
<main><h1>Peaks<a class="headerlink">¶</a></h1><h2>High ones</h2>
<p>Mount Ada lies in the north of <b>Borland</b>, and it is 3,812 metres high.</p>
<ul><li>Its first climber was Cid Doe.</li></ul>
<table><tr><th>peak</th><th>height</th></tr><tr><td>Mount Eve</td><td>2,100 m</td></tr></table>
<pre>code here</pre></main><footer><p>All rights reserved by us</p></footer></body></html>"""

RST = """Guide
=====

See :ref:`the hut` and `its site <http://hut.example>`_ before a long climb begins.

.. note:: hidden

Climbing::

    not read

Down
----

* first the snow field, then the wood
"""


def write_library(folder: Path) -> Path:
    """A folder with one file of each kind that is read as text, and some that aren't."""
    (folder / "guides").mkdir(parents=True)
    (folder / "guides" / "lamp.md").write_text(HANDBOOK, encoding="utf-8")
    (folder / "peaks.HTML").write_text(PAGE, encoding="utf-8")
    (folder / "hut.rst").write_text(RST, encoding="utf-8")
    (folder / "notes.txt").write_text("The hut was built by Fay Gray in 1931.\nIt has two rooms.\n", encoding="utf-8")
    (folder / "latin.txt").write_bytes("Das Gebäude steht hier.".encode("latin-1"))
    (folder / "empty.md").write_text(" \n")
    (folder / "binary.txt").write_bytes(b"a\0b" * 20)
    (folder / "table.csv").write_text("a,b\n")
    (folder / ".git").mkdir()
    (folder / ".git" / "config.txt").write_text("hidden text that nobody may search for")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "link.txt").symlink_to(folder / "notes.txt")
    return folder


def passage(text: str, title: str = "The lamp", key: str = "lamp.md#1", source: str = "lamp.md") -> Passage:
    return Passage(id=key, title=title, text=text, source=source)


def write_rows(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


ARTICLES = [
    {
        "title": f"Ada {name}",
        "text": f"Ada {name} (born {day} May 1950 in {place}) is a Danish painter. She married Bo {name}sen in 1970. "
        f"She was the daughter of Carl {name} and his wife Dora {name}holm.",
    }
    for day, (name, place) in enumerate(
        [("Holm", "Aarhus"), ("Lund", "Odense"), ("Berg", "Esbjerg"), ("Dahl", "Randers"), ("Krog", "Kolding")], start=3
    )
] + [
    {
        "title": f"{name} (film)",
        "text": f"{name} is a {year} Danish drama film directed by {who} and starring Gus Hale and Ida Juhl.",
    }
    for name, year, who in [("Red Snow", 1961, "Kai Lind"), ("Blue Rain", 1972, "Max Nygaard"), ("Fog", 1983, "Ole Bo")]
]
"""Articles of an encyclopedia, of people and of films."""
