"""Components that are wrong in one way each, by family: what the checks must find, and no other check may."""

from attrs import frozen

WRONG = []
"""(name of the one check that must fail, component)"""


def wrong(check, **options):
    """Make a component class of a right one with one method done wrongly."""

    def make(cls):
        if cls.__doc__ is None:
            cls.__doc__ = f"Fails {check}."
        cls = frozen(kw_only=True)(cls)
        WRONG.append((check, cls(**options)))
        return cls

    return make
