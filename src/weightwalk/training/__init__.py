"""One training loop with exact resume: `stage` describes it, `checkpoint` keeps it, `samplers` draw its batches."""
