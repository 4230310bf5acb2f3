"""The page itself: an HTTP server for this machine only.

It listens on 127.0.0.1, reads and never writes, and answers only requests that name the loopback address as their
host, so that no page from elsewhere can reach it by a name of its own (DNS rebinding).
"""

from collections import Counter
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from celebahq_tools.errors import CelebAHQError, UsageError
from celebahq_tools.store import PyramidReader
from celebahq_tools.store.export import encode_png
from celebahq_tools.view.select import PAGE_SIZES, Query, matching, query_of, read_rejects

LOOPBACK = "127.0.0.1"
HOSTS = (LOOPBACK, "localhost")
THUMB_RES = 128
MAX_CLASSES = 1000
POLICY = "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"


class Viewer:
    """Pages and pictures of one pyramid file."""

    def __init__(self, path: Path) -> None:
        """Raises what `PyramidReader` raises."""
        from jinja2 import Environment, PackageLoader, StrictUndefined

        self._reader = PyramidReader(path)
        self._rejects = read_rejects(path)
        loader = PackageLoader("celebahq_tools", "view")
        self._page = Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template("page.html")
        self._thumb = max((res for res in self._reader.levels if res <= THUMB_RES), default=self._reader.levels[-1])

    def images(self, query: Query) -> str:
        """The page of images as HTML. Raises UsageError."""
        found = matching(self._reader, query)
        numbers = found[query.page * query.size : (query.page + 1) * query.size]
        items = [self._item(int(number)) for number in numbers]
        return self._rendered(query, items, len(found), len(self._reader), rejects_page=False)

    def rejects(self, query: Query) -> str:
        """The page of rejected pictures as HTML."""
        found = [item for item in self._rejects if query.reason in ("", item["reason"])]
        items = found[query.page * query.size : (query.page + 1) * query.size]
        return self._rendered(query, items, len(found), len(self._rejects), rejects_page=True)

    def picture(self, kind: str, number: int) -> bytes | None:
        """A PNG of an image, `thumb` or `image`; None where there is none. Raises FormatError."""
        if not 0 <= number < len(self._reader):
            return None
        return encode_png(self._reader.read(number, self._thumb if kind == "thumb" else None))

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    def _item(self, number: int) -> dict[str, Any]:
        if not self._reader.has_index:
            return {"number": number, "key": "", "quality": None, "label": ""}
        row = self._reader.index.row(number)
        names = self._reader.label_names
        label = "" if row.label is None else names[row.label] if row.label < len(names) else str(row.label)
        return {"number": number, "key": row.key, "quality": row.quality, "label": label}

    def _rendered(self, query: Query, items: list[Any], total: int, count: int, *, rejects_page: bool) -> str:
        pages = max(1, -(-total // query.size))
        base = "/rejects" if rejects_page else "/"
        return self._page.render(
            name=self._reader.path.name,
            what="rejected pictures" if rejects_page else "images",
            total=total,
            all=count,
            query=query,
            items=items,
            pages=pages,
            previous=_address(base, query, query.page - 1) if query.page > 0 else None,
            next=_address(base, query, query.page + 1) if query.page + 1 < pages else None,
            sizes=PAGE_SIZES,
            attributes=self._reader.attribute_names,
            classes=self._reader.label_names[:MAX_CLASSES],
            rejects_page=rejects_page,
            num_rejects=len(self._rejects),
            reasons=sorted(Counter(item["reason"] for item in self._rejects).items()),
        )


def _address(base: str, query: Query, page: int) -> str:
    pairs: list[tuple[str, str]] = [("have", name) for name in query.have] + [("lack", name) for name in query.lack]
    for name in ("label", "partition", "low", "high", "text", "order", "reason", "size"):
        value = getattr(query, name)
        if value not in (None, ""):
            pairs.append((name, str(value)))
    return f"{base}?{urlencode([*pairs, ('page', str(page))])}"


class _Handler(BaseHTTPRequestHandler):
    server: "ViewServer"

    def do_GET(self) -> None:
        host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if host not in HOSTS:
            self._send(HTTPStatus.FORBIDDEN, "text/plain", b"only for this machine")
            return
        try:
            self._answer()
        except UsageError as error:
            self._send(HTTPStatus.BAD_REQUEST, "text/plain", str(error).encode())
        except CelebAHQError as error:
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain", str(error).encode())

    def _answer(self) -> None:
        address = urlsplit(self.path)
        viewer = self.server.viewer
        if address.path in ("/", "/rejects"):
            query = query_of(parse_qs(address.query))
            page = viewer.images(query) if address.path == "/" else viewer.rejects(query)
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", page.encode("utf-8", "replace"))
            return
        kind, _, name = address.path.lstrip("/").partition("/")
        stem = name.removesuffix(".png")
        picture = None
        if kind in ("thumb", "image") and stem.isascii() and stem.isdigit() and len(stem) < 10:
            picture = viewer.picture(kind, int(stem))
        if picture is None:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", b"there is no such page")
        else:
            self._send(HTTPStatus.OK, "image/png", picture)

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Say nothing."""


class ViewServer(ThreadingHTTPServer):
    """Serves a viewer on the loopback address; port 0 takes a free one."""

    daemon_threads = True

    def __init__(self, viewer: Viewer, port: int) -> None:
        """Raises UsageError when the port is taken."""
        self.viewer = viewer
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except (OSError, OverflowError) as error:
            raise UsageError(f"--port {port}: {error}; choose another one") from None

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://{LOOPBACK}:{self.server_address[1]}/"
