"""What `potstill init` writes for data that are no pictures: one task a file, named as the task, with a function `recipe`.

`recipe(data, shown, base, name)` looks at a file or folder and returns (the recipe's text, what was found in words). `shown` is its
path as the recipe in folder `base` must say it, `name` the recipe's. It raises PotstillError, with what must change, where it cannot tell.
"""
