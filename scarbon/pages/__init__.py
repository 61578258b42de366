"""A report as a page that people read: its languages, and HTML and PDF."""
