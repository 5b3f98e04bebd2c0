"""From a folder of images to a network in use: how long it takes, and what others reach."""
