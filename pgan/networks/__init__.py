"""Generator and discriminator families."""
