# SPDX-License-Identifier: GPL-2.0
"""Makes elements of XML and HTML, which escape what they contain. Pure."""

from xml.etree import ElementTree as ET

from pyharness.interceptor.rules.reports.characters import shown


def element(tag: str, *content: "str | ET.Element | None", **attributes: str) -> ET.Element:
    """Return an element.

    Args:
        tag: its name.
        content: texts and elements, in their order; None is left out. The characters of a text are
            shown as they are, except for those that no document can have.
        attributes: its attributes; an underscore at the end of a name is not part of it, and the
            others are hyphens.
    """
    names = {name.rstrip("_").replace("_", "-"): shown(text) for name, text in attributes.items()}
    made = ET.Element(tag, names)
    last: ET.Element | None = None
    for part in content:
        if isinstance(part, ET.Element):
            made.append(part)
            last = part
        elif part is not None:
            text = "\n".join(shown(line) for line in part.split("\n"))
            if last is None:
                made.text = (made.text or "") + text
            else:
                last.tail = (last.tail or "") + text
    return made
