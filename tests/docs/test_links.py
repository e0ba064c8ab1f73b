"""Claims of the check of the site's links."""

from pathlib import Path

import pytest

from tests.docs.links import problems


def write(site: Path, body: str) -> None:
    """Write a site of two pages, a style sheet, a picture and a file, beside another file."""
    (site / "learn").mkdir(parents=True)
    (site / "index.html").write_text(f"<h1 id=top>Site</h1>{body}", encoding="utf-8")
    (site / "learn" / "a page.html").write_text("<h2 id='δ'>Page</h2>", encoding="utf-8")
    (site / "style.css").write_text("@import 'other.css'; p { src: url(data:font) }")
    (site / "other.css").write_text("")
    (site / "picture.svg").write_text("<svg><path id='p'/><use xlink:href='#p'/></svg>")
    (site / "check.c").write_text("int main;")
    (site.parent / "outside.html").write_text("")


def test_whole_links_are_accepted(tmp_path: Path) -> None:
    """Pages, anchors, files, styles and links to other sites are found."""
    write(
        tmp_path / "site",
        """<a href="learn/a%20page.html#%CE%B4">page</a> <a href="#top">top</a> <a href="#">up</a>
        <a href="index.html?q=1#top">asked</a> <a href="check.c">file</a>
        <a href="https://example.org/nothing#here">outside</a> <a href="mailto:a@b.c">letter</a>
        <link rel="stylesheet" href="style.css?v=1"> <link rel="canonical" href="https://a.b/">
        <img src="picture.svg"> <img src="data:image/png;base64,"> <p style="fill: url(#top)">""",
    )
    assert list(problems(tmp_path / "site")) == []


def test_a_folder_without_a_site_is_no_whole_site(tmp_path: Path) -> None:
    """A mistyped folder is not taken for a site without problems."""
    assert list(problems(tmp_path / "lost")) == [f"{tmp_path / 'lost'}: there is no site"]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('<a href="lost.html">', "lost.html is no file of the site"),
        ('<a href="learn/">', "learn/ is no file of the site"),
        ('<a href="../outside.html">', "../outside.html is no file of the site"),
        ('<a href="#lost">', "#lost is no anchor"),
        ('<a href="learn/a%20page.html#top">', "learn/a%20page.html#top is no anchor"),
        ('<a href="check.c#L3">', "check.c#L3 is no anchor"),
        ('<a href="file:///index.html">', "file:///index.html is outside"),
        ('<form action="lost.html">', "lost.html is no file of the site"),
        ('<img src="lost.png">', "lost.png is no file of the site"),
        ('<img src="https://a.b/c.png">', "https://a.b/c.png is outside"),
        ('<img srcset="picture.svg 1x, //a.b/c.png 2x">', "//a.b/c.png is outside"),
        ('<script src="//a.b/c.js"></script>', "//a.b/c.js is outside"),
        ('<link rel="stylesheet" href="http://a.b/c.css">', "http://a.b/c.css is outside"),
        ('<p style="background: url(http://a.b/c.png)">', "http://a.b/c.png is outside"),
        ("<style>@import 'http://a.b/c.css'</style>", "http://a.b/c.css is outside"),
        ('<svg><use href="#lost"/></svg>', "#lost is no anchor"),
    ],
)
def test_a_broken_link_is_named(tmp_path: Path, body: str, problem: str) -> None:
    """So is what a page would load from outside."""
    write(tmp_path / "site", body)
    assert list(problems(tmp_path / "site")) == [f"index.html: {problem}"]


def test_files_other_than_pages_are_checked(tmp_path: Path) -> None:
    """A style sheet and a picture that ask for something outside are named."""
    write(tmp_path / "site", "")
    (tmp_path / "site" / "other.css").write_text("p { src: url('https://a.b/c.woff') }")
    (tmp_path / "site" / "picture.svg").write_text("<svg><image href='https://a.b/c.png'/></svg>")
    assert list(problems(tmp_path / "site")) == [
        "other.css: https://a.b/c.woff is outside",
        "picture.svg: https://a.b/c.png is outside",
    ]
