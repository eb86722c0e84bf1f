"""The report of the tables, which is gathered once and then written as JSON, Markdown and one HTML page."""
