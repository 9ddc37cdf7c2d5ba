"""The published zoos' files, one per network: `import_tree` makes a zoo of a folder of them, `export_tree` such a
folder of a zoo.
"""

from weightwalk.zoos.published import dws, nfn
from weightwalk.zoos.published.trees import LAYOUTS
from weightwalk.zoos.published.tree_reading import ImportOutcome, import_tree
from weightwalk.zoos.published.tree_writing import ExportOutcome, export_tree

__all__ = ["LAYOUTS", "ExportOutcome", "ImportOutcome", "dws", "export_tree", "import_tree", "nfn"]
