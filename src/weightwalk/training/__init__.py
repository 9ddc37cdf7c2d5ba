"""One training loop with exact resume: `stage` describes a run, `loop` does it, `checkpoint` keeps it, `samplers` draw
its batches.
"""
