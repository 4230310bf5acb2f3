"""A local page to look through a pyramid file; see `celebahq view`."""
