"""Data sets in memory, their parts, and the batches drawn from them.

`datasets` reads images by name or path (`source`): arrays (`image_arrays`), or pictures (`pixels`)
in folders, in lists or of the hub. `examples` reads tables; `augmentation` changes images,
`batches` draws.
Names for others: `ImageData`, `load_data`, `Task`, `load_task`, `Split`, `Batches`.
"""
