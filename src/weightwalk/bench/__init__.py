"""What this machine does, measured: `weightwalk bench`. Every ratio is of two things that were measured in turns in one
run.
"""
