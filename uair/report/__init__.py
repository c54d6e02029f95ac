"""Reports as single HTML files with plots, made of the plain data that commands print as JSON.

Pages are built as trees of the standard library's ElementTree, which escapes every name that comes out of a stranger's
model, and hold no script. Plots are SVG, written by `uair.report.plot`: matplotlib alone would be more to install than
all of UAIR's own dependencies but onnx and NumPy, pygal fetches a script from its maker's site, plotly embeds megabytes
of one, and none of them marks a range in a histogram.
"""

from __future__ import annotations

from uair.report.difference import difference_page
from uair.report.quantization import quantization_csv, quantization_page

__all__ = ["difference_page", "quantization_csv", "quantization_page"]
