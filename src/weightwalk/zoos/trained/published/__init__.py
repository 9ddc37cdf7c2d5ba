"""Published zoos of trained networks, read as they were released: one file per layout, registered in `LAYOUTS`."""

from weightwalk.zoos.trained.published import small_cnn_zoo, vit_zoo, wild_park  # noqa: F401 (they register themselves)
from weightwalk.zoos.trained.published.reading import LAYOUTS, ImportOutcome, Published, import_published

__all__ = ["LAYOUTS", "ImportOutcome", "Published", "import_published"]
