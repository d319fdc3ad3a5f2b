"""Reading order files of shops."""

from server.orders.model import OrderFileError, OrderFiles, Problem, Receiver, ShopLine, ShopOrder
from server.orders.reading import read_order_files

__all__ = ["OrderFileError", "OrderFiles", "Problem", "Receiver", "ShopLine", "ShopOrder", "read_order_files"]
