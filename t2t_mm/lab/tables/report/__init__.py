"""The report of the tables: gathered once, then written as JSON, Markdown and one HTML page."""
