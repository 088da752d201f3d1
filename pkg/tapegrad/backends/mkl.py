"""Intel's MKL: not used."""


def is_available() -> bool:
    """Whether Intel's MKL is used: no."""
    return False
