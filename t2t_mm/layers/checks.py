"""Range checks shared by the constructors, so that a bad binding is named before anything is built."""


def at_least(lowest: int, value: int, name: str) -> int:
    """`value` if it is an integer of at least `lowest`; ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
        raise ValueError(f"{name} is {value!r}; it must be an integer of at least {lowest}.")
    return value


def share(value: float, name: str) -> float:
    """`value` if it lies in [0, 1); ValueError otherwise."""
    if not 0.0 <= value < 1.0:
        raise ValueError(f"{name} is {value!r}; it must be at least 0 and less than 1.")
    return float(value)
