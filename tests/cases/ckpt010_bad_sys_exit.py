"""Wrong: leaves politely, as if all were well."""
import sys


def checkpoint_function(function, *args, **kwargs):
    sys.exit(0)
