"""What was trained with other people's releases, brought here."""
