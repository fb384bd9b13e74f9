"""What can go wrong in the demo without being a fault of it."""


class DemoError(Exception):
    """Something that whoever started the demo can mend; the message says how."""
