"""A reader of the page: its elements, text and tables."""

from html.parser import HTMLParser

__all__ = ["Page"]


class Page(HTMLParser):
    """Collect what a page says and what it refers to, and check that its elements close."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: list[tuple[str, str]] = []
        self.rows: list[list[str]] = []  # of all tables
        self.raw = ""
        self.feed(source)
        self.close()
        self.text = " ".join(self.raw.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember an element."""
        if tag not in {"img", "meta", "link", "br"}:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")
        for name, value in attrs:
            if name in {"src", "href", "srcset", "data", "action"}:
                self.references.append((tag, value or ""))
            if name == "id":
                self.ids.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        """Close an element."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keep the text outside of styles."""
        if "style" not in self.open:
            self.raw += data
        if {"td", "th"} & {*self.open}:
            self.rows[-1][-1] += data

    def rows_named(self, name: str) -> list[list[str]]:
        """Return the cells after the first of all rows that begin with this cell."""
        return [row[1:] for row in self.rows if row[0] == name]
