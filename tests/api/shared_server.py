"""Two workers without Redis: the check that refuses this is left out, to test what they share."""

from __future__ import annotations

import dataclasses

from api import serving
from api.settings import read_settings

if __name__ == "__main__":
    settings = dataclasses.replace(read_settings(), rate_storage="redis://not-used")
    serving.serve(settings)
