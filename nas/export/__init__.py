"""Networks as files that other programs read, with all that is needed in the metadata.

`safetensors` writes and reads networks of cells, `chain` writes networks of layers in a row,
`predict` classifies images, `deploy` checks and writes the forms of `programs` and `source`.
Names for others: `save_network`, `load`, `save_chain`, `predict_files`, `export`.
"""
