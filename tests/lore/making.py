"""Small real files of every format that lore is read from."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence

from studio.persona.cards import Card, to_png

PROSE = (
    "The ferry came in at dusk with its lamps already lit, and the people who stepped off it were carrying more than they had taken on board.",
    "Nobody asked for the umbrella again. It stood by the door until the spring of 1887, when the keeper's daughter took it out into the rain.",
    "\u201cYou may keep it,\u201d said the keeper, \u201cif you can tell me what is in the handle.\u201d She could, and he wrote it down.",
)


def zipped(members: dict[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def html() -> bytes:
    return (
        "<!doctype html><html><head><title>T</title><style>p{}</style><script>var x='no';</script></head><body><nav>Home | About</nav>"
        f"<h1>The <em>Ferry</em></h1><p>{PROSE[0]}</p><h2>Chapter One</h2><p>{PROSE[1]}</p><ul><li>a lamp</li><li>a kite</li></ul>"
        "<p>彼は<ruby>漢字<rp>(</rp><rt>かんじ</rt><rp>)</rp></ruby>を書いた。</p><p>line one<br>line two</p></body></html>"
    ).encode()


CONTAINER = (
    '<?xml version="1.0"?><container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
    '<rootfile full-path="OEBPS/content.opf" media-type="application/oebps-package+xml"/></rootfiles></container>'
)


def epub(extra: dict[str, str | bytes] | None = None) -> bytes:
    package = (
        '<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" version="3.0"><manifest>'
        '<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>'
        '<item id="b" href="text/second%20part.xhtml" media-type="application/xhtml+xml"/>'
        '<item id="a" href="text/first.xhtml" media-type="application/xhtml+xml"/>'
        '<item id="gone" href="text/gone.xhtml" media-type="application/xhtml+xml"/></manifest>'
        '<spine><itemref idref="nav"/><itemref idref="a"/><itemref idref="b"/><itemref idref="gone"/></spine></package>'
    )
    page = '<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml"><body><h2>{}</h2><p>{}</p></body></html>'
    return zipped(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": CONTAINER,
            "OEBPS/content.opf": package,
            "OEBPS/nav.xhtml": page.format("Contents", "One, Two"),
            "OEBPS/text/second part.xhtml": page.format("Two", PROSE[1]),
            "OEBPS/text/first.xhtml": page.format("One", PROSE[0]),
            **(extra or {}),
        }
    )


def docx() -> bytes:
    space = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    relations = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"

    def run(text: str) -> str:
        return f'<w:r><w:t xml:space="preserve">{text}</w:t></w:r>'

    document = (
        f'<?xml version="1.0"?><w:document {space}><w:body><w:p><w:pPr><w:pStyle w:val="Heading1"/></w:pPr>{run("The Ferry")}</w:p>'
        f'<w:p>{run("Before. ")}<w:ins w:id="1" w:author="a">{run("Inserted words. ")}</w:ins><w:del w:id="2" w:author="a">'
        f"<w:r><w:delText>Deleted words.</w:delText></w:r></w:del>{run(PROSE[0])}"
        '<w:r><w:footnoteReference w:id="2"/></w:r></w:p></w:body></w:document>'
    )
    styles = (
        f'<?xml version="1.0"?><w:styles {space}><w:style w:type="paragraph" w:styleId="Heading1"><w:name w:val="heading 1"/></w:style></w:styles>'
    )
    notes = f'<?xml version="1.0"?><w:footnotes {space}><w:footnote w:id="2"><w:p>{run("A note on ferries.")}</w:p></w:footnote></w:footnotes>'
    types = (
        '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Override PartName="/word/document.xml" '
        'ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>'
    )
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    return zipped(
        {
            "[Content_Types].xml": types,
            "_rels/.rels": (
                f'<Relationships xmlns="{package}"><Relationship Id="r1" Type="{relations}/officeDocument" Target="word/document.xml"/>'
                "</Relationships>"
            ),
            "word/_rels/document.xml.rels": (
                f'<Relationships xmlns="{package}"><Relationship Id="r1" Type="{relations}/styles" Target="styles.xml"/>'
                f'<Relationship Id="r2" Type="{relations}/footnotes" Target="footnotes.xml"/></Relationships>'
            ),
            "word/document.xml": document,
            "word/styles.xml": styles,
            "word/footnotes.xml": notes,
        }
    )


def pdf(pages: Sequence[Sequence[tuple[float, float, float, str]]]) -> bytes:
    """A PDF of lines ``(size, x, y, text)`` in Helvetica."""
    objects: list[bytes] = [b"<< /Type /Catalog /Pages 2 0 R >>", b"", b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    kids = []
    for lines in pages:
        drawn = "".join(
            "BT /F1 {} Tf {} {} Td ({}) Tj ET\n".format(size, x, y, text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)"))
            for size, x, y, text in lines
        ).encode("latin-1")
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(drawn), drawn))
        kids.append(len(objects) + 1)
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 400 600] /Resources << /Font << /F1 3 0 R >> >> /Contents %d 0 R >>" % len(objects)
        )
    objects[1] = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (b" ".join(b"%d 0 R" % kid for kid in kids), len(kids))
    made = bytearray(b"%PDF-1.4\n")
    places = []
    for number, content in enumerate(objects, 1):
        places.append(len(made))
        made += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    start = len(made)
    made += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + b"".join(b"%010d 00000 n \n" % place for place in places)
    return bytes(made + b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, start))


ORDER = ("One", "Two", "Three", "Four", "Five")


def book_pdf() -> bytes:
    """Five pages with running head and page number; a paragraph that goes over a page's end, a word broken at a line's."""
    pages = []
    for number in range(5):
        lines = [(8.0, 150.0, 570.0, "THE LOST PROPERTY OFFICE"), (8.0, 195.0, 20.0, str(number + 1))]
        if number == 0:
            lines.append((16.0, 50.0, 530.0, "Chapter One"))
        y = 500.0
        for sentence in (
            f"{ORDER[number]}, the keeper of the lost property office wrote down each of the",
            f"crates in the book, number {number + 1}, and nobody asked for the plums again.",
        ):
            lines.append((10.0, 50.0 if y < 500 else 62.0, y, sentence))
            y -= 13
        for sentence in (
            f"In the evening the ferry came in with {ORDER[number].lower()} lamps lit, and all of its passen-",
            f"gers were carrying more than the {ORDER[number].lower()} passengers of the day before had taken on",
        ):
            lines.append((10.0, 62.0 if y == 474.0 else 50.0, y, sentence))
            y -= 13
        pages.append(lines)
    pages.append(
        [(8.0, 150.0, 570.0, "THE LOST PROPERTY OFFICE"), (10.0, 50.0, 500.0, "board, which is all that can be said."), (8.0, 195.0, 20.0, "6")]
    )
    return pdf(pages)


SRT = """\ufeff1
00:00:01,000 --> 00:00:03,000
<i>The ferry came in</i>

2
00:00:03,100 --> 00:00:05,000
{\\an8}at dusk.

3
00:00:05,200 --> 00:00:06,000
- Who is there?
- Nobody.

4
00:00:20,000 --> 00:00:22,000
Then let nobody in.

5
00:00:30,000 --> 00:00:32,000
Subtitles by FerrySubs www.opensubtitles.org
"""

VTT = """WEBVTT

NOTE a note

00:01.000 --> 00:03.000 align:start
<v Keeper>The book lies</v>

00:03.000 --> 00:04.000
The book lies
by the window.
"""

ASS = """[Script Info]
Title: x

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Comment: 0,0:00:00.00,0:00:01.00,Default,,0,0,0,,a comment
Dialogue: 0,0:00:01.00,0:00:02.00,Default,Wen,0,0,0,,{\\i1}Good evening,{\\i0}\\Nstranger.
Dialogue: 0,0:00:03.00,0:00:04.00,Default,Bao,0,0,0,,Evening.
Dialogue: 0,0:00:03.00,0:00:04.00,Sign,,0,0,0,,{\\p1}m 0 0 l 10 0{\\p0}
"""

FOUNTAIN = """Title: The Office
Author: A

INT. OFFICE - NIGHT

A lamp burns. [[a note]]

WEN (V.O.)
(quietly)
Then sit.

BAO
Which thing first?

/* cut
this */

CUT TO:
"""

RENPY = """define w = Character("Wen", color="#fff")
label start:
    scene bg office
    w happy "The kettle is {b}on{/b}."
    "It has never once broken."
    # a comment
    menu:
        "Stay":
            w "Good."
        "Leave":
            jump end
"""

CSV = 'scene,speaker,text\n1,Wen,"The kettle, as ever, is on."\n1,Bao,Good.\n2,,The lamp goes out.\n2,Wen,\n'

WIKI_DUMP = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/">
<page><title>Orm</title><ns>0</ns><revision>
<text>{{Infobox|name={{lc:Orm}}}}'''Orm''' is a [[town|harbour town]] of the [[North]].&lt;ref&gt;x&lt;/ref&gt;
[[File:Orm.png|thumb|The [[harbour]]]]

== History ==
It has a bell.[https://x.org link]

* a lamp
* a kite

== References ==
{{reflist}}
[[Category:Towns]]</text></revision></page>
<page><title>Town</title><ns>0</ns><redirect title="Orm"/><revision><text>#REDIRECT [[Orm]]</text></revision></page>
<page><title>Talk:Orm</title><ns>1</ns><revision><text>Is it?</text></revision></page>
</mediawiki>
"""

BOOK = {
    "name": "Brackwater",
    "entries": {
        "0": {
            "key": ["Brackwater"],
            "comment": "Brackwater",
            "content": "@@depth 4\n@@role system\nBrackwater is a drowned town below the weir, where {{char}} was born.",
        },
        "1": {"key": ["Orm"], "comment": "Orm", "content": "Orm is a harbour in the north with one bell and no church."},
        "2": {"key": ["Luwan"], "comment": "Luwan", "content": "Luwan is a market upriver that sells paper and plums to {{user}}."},
        "3": {"key": ["Tern"], "comment": "Tern", "content": "Tern is an island of gulls that nobody has counted twice."},
        "4": {"key": ["off"], "comment": "Off", "content": "Switched off.", "disable": True},
    },
}

CARD = {
    "spec": "chara_card_v3",
    "spec_version": "3.0",
    "data": {
        "name": "Wen Tolliver",
        "nickname": "Wen",
        "description": "{{char}} keeps the lost property office. {{// a note}}{{random:Calm,Kind}}.",
        "personality": "Dry.",
        "scenario": "",
        "first_mes": "*looks up* Then sit, {{user}}.",
        "mes_example": "",
        "character_book": {
            "entries": [{"keys": ["kettle"], "content": "The kettle of {{CHAR}} has never broken.", "name": "Kettle", "enabled": True}]
        },
    },
}


def every_kind() -> dict[str, bytes]:
    """A file of each kind that is read, by its name."""
    return {
        "tale.txt": "\n\n".join(PROSE).encode(),
        "tale.md": ("---\ntitle: x\ntags: [a]\n---\n# The Ferry\n\n" + PROSE[0] + "\n\n<!-- hidden -->\n" + PROSE[1]).encode(),
        "page.html": html(),
        "book.epub": epub(),
        "book.pdf": book_pdf(),
        "letter.docx": docx(),
        "rows.jsonl": (json.dumps({"text": PROSE[0]}) + "\n" + json.dumps({"title": "Two", "text": PROSE[1]}) + "\nnot json\n").encode(),
        "film.srt": SRT.encode(),
        "film.vtt": VTT.encode(),
        "film.ass": ASS.encode(),
        "play.fountain": FOUNTAIN.encode(),
        "game.rpy": RENPY.encode(),
        "lines.csv": CSV.encode(),
        "wiki.xml": WIKI_DUMP.encode(),
        "book.json": json.dumps(BOOK).encode(),
        "card.png": to_png(Card(CARD)),
        "talk.json": json.dumps(
            {"text": [{"Wen": "Then sit."}, {"ACTION": "She sits."}, {"CHOICE": [[{"Bao": "Yes."}], [{"Bao": "No."}]]}]}
        ).encode(),
    }
