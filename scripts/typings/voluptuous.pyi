# Home Assistant makes `voluptuous` an alias of probatio before any integration is imported; here, its types.
from probatio import *  # noqa: F403 (all of its names, whichever they are)
