"""From a source to a pyramid in two passes: survey every picture, give each accepted one a slot, fill the slots."""
