"""Data sets in memory, their parts, and the batches drawn from them.

`datasets` reads images by name or path, `image_folder` folders of pictures, `examples` tables;
`augmentation` changes images, `batches` draws.
Names for others: `ImageData`, `load_data`, `Task`, `load_task`, `Split`, `Batches`.
"""
