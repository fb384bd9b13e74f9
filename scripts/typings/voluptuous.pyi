# Home Assistant makes `voluptuous` an alias of probatio before any integration is imported; here, its types.
from probatio import *
