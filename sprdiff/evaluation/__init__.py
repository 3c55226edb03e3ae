"""Many images, several methods and budgets: a run that can be resumed (``runner``), and what is made of it.

Rows and means (``results``), curves, Bjøntegaard deltas and plots (``figures``), a report (``report``). Each
image is compared by ``sprdiff.comparison``, which does not import this package.
"""
