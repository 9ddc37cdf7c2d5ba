"""What a report is made of: plots, tables and pages, from arrays and numbers, without knowing any task."""
