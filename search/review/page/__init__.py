"""report.html: one page that shows what a search found."""
