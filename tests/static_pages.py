"""Look at a static site as a browser does that has neither a server nor a network."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOADS = {"src", "srcset", "poster", "data", "action", "background"}
_WITHIN_A_LINE = {"a", "code", "span", "wbr"}
_CSS_LOADS = re.compile(r"""@import|url\((?!\s*["']?data:)""", re.IGNORECASE)


@dataclass
class Page(HTMLParser):
    """What a page holds.

    Attributes:
        links: where its <a> lead.
        loads: what a browser gets to show it.
        tags: the names of its elements.
        styles: CSS within it.
        text: what people read, with single blanks.
        meta: its <meta http-equiv>.
    """

    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    styles: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    meta: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:  # noqa: D105 - the parser must begin
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in _WITHIN_A_LINE:
            self.texts.append(" ")
        found = {name: value or "" for name, value in attrs}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif "href" in found:
            self.loads.append(found["href"])
        self.loads += [value for name, value in found.items() if name in _LOADS]
        if "style" in found:
            self.styles.append(found["style"])
        if "http-equiv" in found:
            self.meta[found["http-equiv"].lower()] = found["content"]

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] == "style" and self.cdata_elem:
            self.styles.append(data)
        elif not self.cdata_elem:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())


def read_page(file: Path) -> Page:
    page = Page()
    page.feed(file.read_text(encoding="utf-8"))
    page.close()
    return page


def faults(site: Path) -> list[str]:
    """What is wrong with the links of a site, and what it loads from outside."""
    found = []
    for file in sorted(site.rglob("*.html")):
        page, name = read_page(file), file.relative_to(site)
        found += [
            f"{name} loads {target}" for target in page.loads if not _is_inside(file, target, site)
        ]
        found += [
            f"{name} links to {target}"
            for target in page.links
            if not urlsplit(target).scheme.startswith("http") and not _is_inside(file, target, site)
        ]
        found += [f"{name} has {css[:80]}" for css in page.styles if _CSS_LOADS.search(css)]
    for file in sorted(site.rglob("*.css")):
        for match in _CSS_LOADS.finditer(file.read_text(encoding="utf-8")):
            found.append(f"{file.relative_to(site)} has {match[0]}")
    return found


def _is_inside(page: Path, target: str, site: Path) -> bool:
    """Whether a relative address names a file of the site, or is the data itself."""
    parts = urlsplit(target)
    if parts.scheme == "data":
        return True
    if parts.scheme or parts.netloc or parts.path.startswith("/"):
        return False
    file = (page.parent / unquote(parts.path)).resolve() if parts.path else page.resolve()
    return file.is_file() and file.is_relative_to(site.resolve())
