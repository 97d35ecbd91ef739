"""Word files, through mammoth's HTML: it keeps tracked insertions, footnotes and text boxes."""

from __future__ import annotations

import io
from collections import Counter

from studio.lore.readers import Reading, Unreadable
from studio.lore.readers.html import page_text
from studio.zips import content, one_sentence, opened

STYLES = "p[style-name='Title'] => h1:fresh\np[style-name='Subtitle'] => h2:fresh"


def read(raw: bytes, name: str) -> Reading:
    import mammoth

    archive = opened(raw)
    for member in archive.infolist():
        if member.filename.endswith((".xml", ".rels")) and b"<!ENTITY" in content(archive, member):
            raise Unreadable("damaged file", f"{member.filename} in it declares entities, which no Word file needs; save it anew")
    try:
        made = mammoth.convert_to_html(io.BytesIO(raw), style_map=STYLES, convert_image=mammoth.images.img_element(lambda image: {}))
    except Unreadable:
        raise
    except Exception as error:  # mammoth has no exceptions of its own: a damaged file raises what its insides do
        raise Unreadable("damaged file", f"it cannot be read as a Word file ({one_sentence(error)}); open and save it anew") from error
    changed: Counter[str] = Counter()
    pictures = made.value.count("<img")
    if pictures:
        changed["pictures left out"] += pictures
    text = page_text(made.value, changed)
    if not text.strip():
        raise Unreadable("no text in it", "the Word file holds no text")
    return Reading(text, "docx", "utf-8", +changed)
