"""oneDNN: not used."""

enabled = True


def is_available() -> bool:
    """Whether oneDNN is used: no."""
    return False
