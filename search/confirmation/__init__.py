"""Confirmation: trains the winner and the recipe again, and judges them on unseen examples."""
