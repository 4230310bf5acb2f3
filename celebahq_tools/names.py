"""Names of files as people can read them: one printable line, whatever bytes the disk holds."""


def printable(name: str) -> str:
    r"""Return `name` on one line, every unprintable or undecodable part written as an escape.

    File names that are no UTF-8 reach Python with surrogates in them (PEP 383); they cannot be printed,
    stored in HDF5 or written to JSON readers. Each such byte becomes `\xNN`, other control characters
    their Python escape, and a backslash two, so that different names stay different.
    """
    if name.isprintable() and "\\" not in name:
        return name
    return "".join(_escape(character) for character in name)


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if character == "\\":
        return "\\\\"
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")


def one_line(error: Exception) -> str:
    """The text of `error` on one printable line, or its type where it has none."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if text.isprintable() else printable(text)
