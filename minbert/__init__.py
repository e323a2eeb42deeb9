"""The minBERT multitask trainer."""
