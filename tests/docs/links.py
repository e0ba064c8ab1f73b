"""Check the links of a built site: ``python -m tests.docs.links FOLDER``."""

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

STYLE = re.compile(r"""(?:url\(\s*|@import\s+)["']?([^"')\s]+)""")


class Page(HTMLParser):
    """The anchors of a page, the targets of its links, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Read an element."""
        follows = tag in {"a", "area", "form"} or ("rel", "canonical") in attrs
        for name, text in attrs:
            value = text or ""
            if name == "id":
                self.anchors.add(value)
            elif name in {"href", "action"} and follows:
                self.links.append(value)
            elif name in {"href", "xlink:href", "src", "data", "poster"}:
                self.loads.append(value)
            elif name == "srcset":
                self.loads += [choice.split()[0] for choice in value.split(",") if choice.strip()]
            elif name == "style":
                self.loads += STYLE.findall(value)

    def handle_data(self, data: str) -> None:
        """Read the styles of a page."""
        if self.cdata_elem == "style":
            self.loads += STYLE.findall(data)


def problems(site: Path) -> Iterator[str]:
    """Yield the links of a site that lead nowhere, and what its pages load from outside."""
    pages = {}
    if not (site / "index.html").exists():
        yield f"{site}: there is no site"
    for path in sorted(site.resolve().rglob("*")):
        if path.suffix in {".html", ".svg"}:
            pages[path] = Page(path.read_text(encoding="utf-8"))
        elif path.suffix == ".css":
            pages[path] = Page(f"<style>{path.read_text(encoding='utf-8')}</style>")

    for path, page in pages.items():
        for targets, outside in ((page.links, {"http", "https", "mailto"}), (page.loads, {"data"})):
            for target in targets:
                url = urlsplit(target)
                if url.scheme in outside:
                    continue
                file = (path.parent / unquote(url.path)).resolve() if url.path else path
                if url.scheme or url.netloc:
                    problem = "is outside"
                elif not (file.is_file() and file.is_relative_to(site.resolve())):
                    problem = "is no file of the site"
                elif url.fragment and not (
                    file in pages and unquote(url.fragment) in pages[file].anchors
                ):
                    problem = "is no anchor"
                else:
                    continue
                yield f"{path.relative_to(site.resolve())}: {target} {problem}"


if __name__ == "__main__":
    found = list(problems(Path(sys.argv[1])))
    sys.exit("\n".join(found) or None)
