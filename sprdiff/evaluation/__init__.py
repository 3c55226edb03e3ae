"""Methods compared on real bytes: one image (``comparison``), or many (``runner``); files (``results``)."""
