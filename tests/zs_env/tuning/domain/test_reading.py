from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.zs_env.tuning.domain.library import HANDBOOK, PAGE, RST, write_library
from zs_env.errors import ConfigError, MissingPackageError
from zs_env.tuning.domain.files import find_files, load_file, read_bytes
from zs_env.tuning.domain.read_html import read_html
from zs_env.tuning.domain.read_markdown import read_markdown
from zs_env.tuning.domain.read_pdf import read_pdf
from zs_env.tuning.domain.read_text import read_text
from zs_env.tuning.domain.sections import Text, UnreadableError

fpdf = pytest.importorskip("fpdf")


def read_file(path: Path, *, max_bytes: int = 10**6, **options: Any) -> Text:
    return read_bytes(path.name, load_file(path, max_bytes=max_bytes), **options)


def blocks(text: Text) -> list[str]:
    return [block for section in text.sections for block in section.blocks]


def test_markdown_gives_sections_rows_that_stand_alone_and_no_code() -> None:
    text = read_markdown(HANDBOOK)
    assert text.title == "The lamp"
    assert [section.heading for section in text.sections] == ["", "Flags"]
    assert blocks(text) == [
        "A lamp of the hut, described.",
        "flag: `--power W`; default: `40`; what it is: how much power the lamp may draw",
        "flag: `--colour`; default: –; what it is: the colour of its light at night",
        "`lamp.toml` holds the settings that the lamp reads when it starts. It also blinks. Each lamp has 12 screws in "
        "its base.",
    ]
    assert text.num_code_blocks == 1
    assert blocks(read_markdown(HANDBOOK, with_code=True))[-1] == "lamp --power 3"


def test_headings_below_headings_name_those_above() -> None:
    text = read_markdown("intro\n\n# A\n\none\n\n### B\n\ntwo\n\n## C\n\nthree\n\n- [x](y) four\n\n!!! note\n\n::: z\n")
    assert [(section.heading, section.blocks) for section in text.sections] == [
        ("", ("intro",)),
        ("A", ("one",)),
        ("A – B", ("two",)),
        ("A – C", ("three", "x four")),
    ]


def test_html_gives_the_main_part_without_what_stands_around_it() -> None:
    text = read_html(PAGE.encode())
    assert text.title == "Peaks"
    assert [section.heading for section in text.sections] == ["High ones"]
    assert blocks(text) == [
        "Mount Ada lies in the north of Borland, and it is 3,812 metres high.",
        "Its first climber was Cid Doe.",
        "peak: Mount Eve; height: 2,100 m",
    ]
    assert text.num_code_blocks == 1


def test_the_main_part_stays_whatever_stands_around_it_is_called() -> None:
    said = "The valve was designed by Marie Kowalski in 1987, and it opens at 12 bar."
    sphinx = (
        '<body class="wy-body-for-nav"><nav class="wy-nav-side">Menu</nav><section class="wy-nav-content-wrap">'
        f'<div class="wy-nav-content"><div role="main"><h1>Valve</h1><p>{said}</p></div></div></section></body>'
    )
    wrapped = (
        f'<body><div class="page has-sidebar"><div class="sidebar">Links</div><div><p>{said}</p></div></div></body>'
    )
    menu = f'<body><div class="menu">{"Links to other pages " * 9}</div><main><p>{said}</p></main></body>'
    for page in (sphinx, wrapped, menu):
        assert blocks(read_html(page.encode())) == [said]


def test_breaks_part_words_and_rows_of_html_keep_code() -> None:
    page = (
        "<article><p>14 Harbour Street<br>Bergen</p><table><thead><tr><td>flag</td><td>what it is</td></tr></thead>"
        "<tr><td><code>--depth</code></td><td><p>how deep</p><p>it looks</p></td></tr></table></article>"
    )
    assert blocks(read_html(page.encode())) == [
        "14 Harbour Street Bergen",
        "flag: `--depth`; what it is: how deep it looks",
    ]


def test_html_is_read_in_the_encoding_that_it_tells() -> None:
    page = '<html><head><meta charset="iso-8859-1"></head><body><p>Das Gebäude steht hier, und niemand sieht es an.</p>'
    assert blocks(read_html(page.encode("latin-1"))) == ["Das Gebäude steht hier, und niemand sieht es an."]


def test_html_without_text_is_unreadable() -> None:
    with pytest.raises(UnreadableError, match="no text"):
        read_html(b"<html><body><script>x = 1</script></body></html>")


def test_rst_loses_directives_roles_and_code() -> None:
    text = read_text(RST, is_rst=True)
    assert text.title == "Guide"
    assert [(section.heading, section.blocks) for section in text.sections] == [
        ("", ("See `the hut` and its site before a long climb begins.", "Climbing:")),
        ("Down", ("first the snow field, then the wood",)),
    ]
    assert text.num_code_blocks == 1


def make_pdf(path: Path, pages: list[str], *, password: str | None = None, title: str = "") -> Path:
    class Book(fpdf.FPDF):  # type: ignore[name-defined,misc]
        def header(self) -> None:
            self.set_font("Helvetica", size=8)
            self.cell(0, 8, f"The hut book {self.page_no()}", new_x="LMARGIN", new_y="NEXT")

    book = Book()
    book.set_title(title)
    if password:
        book.set_encryption("owner", password)
    for text in pages:
        book.add_page()
        book.set_font("Times", size=12)
        book.multi_cell(0, 6, text, new_x="LMARGIN", new_y="NEXT")
    book.output(str(path))
    return path


LONG = (
    "The hut stands on a ridge between two valleys, and whoever climbs up from the southern one needs five hours in "
    "good weather. In winter nobody should go alone, since the last part of the way leads over ice. "
)


def test_pdf_gives_pages_without_their_headers_and_whole_sentences(tmp_path: Path) -> None:
    path = make_pdf(
        tmp_path / "a.pdf", [LONG + "The keeper lives", "in the hut all year. " + LONG, LONG, LONG], title="Hut"
    )
    text = read_pdf(path.read_bytes())
    assert text.title == "Hut"
    assert [section.heading for section in text.sections] == [f"page {number}" for number in (1, 2, 3, 4)]
    whole = " ".join(blocks(text))
    assert "The hut book" not in whole
    assert text.sections[1].blocks[0].startswith("The keeper lives in the hut all year.")
    assert whole.count("needs five hours in good weather.") == 4


@pytest.mark.parametrize("kind", ["locked", "scan", "cut", "no pdf"])
def test_pdfs_without_text_are_unreadable(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    if kind == "locked":
        make_pdf(path, [LONG], password="secret")
    elif kind == "scan":
        book = fpdf.FPDF()
        book.add_page()
        book.output(str(path))
    elif kind == "cut":
        path.write_bytes(make_pdf(tmp_path / "b.pdf", [LONG]).read_bytes()[:500])
    else:
        path.write_bytes(b"%PDF-1.7 and then nothing of the kind")
    expected = {"locked": "encrypted", "scan": "no text", "cut": "broken", "no pdf": "broken"}
    with pytest.raises(UnreadableError, match=expected[kind]):
        read_file(path)


def test_a_folder_is_walked_without_hidden_files_and_links(tmp_path: Path) -> None:
    folder = write_library(tmp_path / "library")
    (folder / "out").mkdir()
    found = {one.name: one.why for one in find_files(folder, exclude=["guides/*"], leave_out=folder / "out")}
    assert found == {
        ".git/": "it is hidden",
        "loop/": "it is a link",
        "out/": "it is where results go",
        "binary.txt": None,
        "empty.md": None,
        "hut.rst": None,
        "latin.txt": None,
        "link.txt": "it is a link",
        "notes.txt": None,
        "peaks.HTML": None,
        "table.csv": "its ending '.csv' isn't known",
        "guides/lamp.md": "it is excluded",
    }
    with pytest.raises(ConfigError, match="is no folder"):
        list(find_files(folder / "nowhere"))


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    folder = write_library(tmp_path / "library")

    def why(name: str, **options: Any) -> str:
        with pytest.raises(UnreadableError) as error:
            read_file(folder / name, **options)
        return str(error.value)

    assert "isn't utf-8 (byte 8" in why("latin.txt")
    assert why("empty.md") == "it is empty"
    assert "NUL" in why("binary.txt")
    assert "can't be read" in why("gone.txt")
    with pytest.raises(UnreadableError, match="larger than"):
        read_file(folder / "notes.txt", max_bytes=10)
    text = read_file(folder / "latin.txt", encoding="latin-1")
    assert blocks(text) == ["Das Gebäude steht hier."]
    with pytest.raises(ConfigError, match="no encoding 'klingon'"):
        read_file(folder / "latin.txt", encoding="klingon")
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.txt")
        assert why("pipe.txt") == "it is no regular file"


@pytest.mark.parametrize(
    ("module", "name"), [("markdown_it", "guides/lamp.md"), ("bs4", "peaks.HTML"), ("pypdf", "a.pdf")]
)
def test_a_missing_package_is_named(module: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_library(tmp_path / "library")
    make_pdf(folder / "a.pdf", [LONG])
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingPackageError, match=r"zerosearch-env\[domain\]"):
        read_file(folder / name)


def test_a_pdf_with_an_empty_page_is_read(tmp_path: Path) -> None:
    page = fpdf.FPDF()
    for text in ("The turbine was designed by Linda Vogel in Hamar.", "", "Its warranty lasts 24 months."):
        page.add_page()
        page.set_font("helvetica", size=12)
        if text:
            page.multi_cell(0, 8, text)
    page.output(str(tmp_path / "a.pdf"))
    assert blocks(read_pdf((tmp_path / "a.pdf").read_bytes())) == [
        "The turbine was designed by Linda Vogel in Hamar.",
        "Its warranty lasts 24 months.",
    ]
