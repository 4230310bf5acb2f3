"""Data sets in and out: a collection per format to read, a writer per format to write; see docs/formats.md."""
