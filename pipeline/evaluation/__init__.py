"""How wrong a segmentation is: contingency tables and the scores computed from them."""
