"""Networks as files that other programs read: safetensors with all that is needed in the metadata.

`safetensors` writes and reads networks of cells, `chain` writes networks of layers in a row.
Names for others: `save_network`, `load`, `save_chain`.
"""
