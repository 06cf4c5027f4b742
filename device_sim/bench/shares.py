"""Dividing work among devices. Pure."""


def shares(total: int, parts: int) -> list[int]:
    """Divide a number into as equal whole parts as it goes, none of them 0."""
    return [max(1, total // parts + (index < total % parts)) for index in range(parts)]
