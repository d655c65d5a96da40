"""Files that users bring: own data, their predictions, option files, runs for a report, cards."""
