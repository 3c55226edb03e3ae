"""One image by several methods at one budget: coding and measuring (``compare``), and what is made of it.

A folder (``folder``) with its record (``record``, ``rows``), a figure for slides (``figure``), one HTML file
(``page``), all of them at once (``exports``). Many images are ``sprdiff.evaluation``, which builds on this.
"""
