"""A site's logo as a data URI: it stands in the page as a picture, in which no script runs and nothing is fetched."""

from __future__ import annotations

import base64
from pathlib import Path
from xml.etree import ElementTree

from scarbon.errors import UserError
from site_config.pages import LOGO_TYPES

MOST_BYTES = 256 * 1024  # a page is mailed
_BEGINS = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff"}


def data_uri(path: Path) -> str:
    """The picture as `data:…`; UserError where it cannot be read, is too large, or is not what its name says."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"the logo {path} cannot be read: {error.strerror}", "check report.logo in site.yaml") from None
    if len(content) > MOST_BYTES:
        raise UserError(
            f"the logo {path} has {len(content) // 1024} KiB", f"it may have {MOST_BYTES // 1024}: make it smaller"
        )
    kind = LOGO_TYPES[path.suffix.lower()]
    if not (_is_svg(content) if kind == "image/svg+xml" else content.startswith(_BEGINS[kind])):
        raise UserError(f"the logo {path} is no {path.suffix.lower()[1:].upper()} picture", "export it anew")
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _is_svg(content: bytes) -> bool:
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError:
        return False
    return root.tag in ("svg", "{http://www.w3.org/2000/svg}svg")
