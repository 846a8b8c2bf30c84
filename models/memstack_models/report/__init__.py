"""The report: measured, concluded, drawn, written as a page."""
