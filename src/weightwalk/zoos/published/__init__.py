"""The published zoos, of INRs and of trained networks: `import_zoo` makes a zoo of a download, `export_tree` the files
of one of a zoo of INRs. One file per layout, registered in `LAYOUTS`.
"""

from weightwalk.zoos.published import dws, inrs, nfn, small_cnn_zoo, vit_zoo, wild_park  # noqa: F401 (they register themselves)
from weightwalk.zoos.published.reading import LAYOUTS, ImportOutcome, Told, import_zoo
from weightwalk.zoos.published.writing import export_tree

__all__ = ["LAYOUTS", "ImportOutcome", "Told", "export_tree", "import_zoo"]
