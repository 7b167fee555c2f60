"""Raw answers in, a dataset worth training on out, with a record of everything that was changed."""
