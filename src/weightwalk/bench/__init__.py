"""What this machine does, measured: `weightwalk bench`. The sides of every ratio took turns in one run."""
