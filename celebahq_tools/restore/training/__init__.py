"""Training of our own restoration networks; nothing of it is needed to use them."""
