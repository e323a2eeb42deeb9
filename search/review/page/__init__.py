"""The page: one HTML file that tells what a search found."""
