"""The report as one HTML file that needs nothing else and asks for nothing."""

from lamm_cl.reports.html.page import render_html

__all__ = ["render_html"]
