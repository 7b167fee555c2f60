"""`roadscribe plan`: whether a run fits a GPU, how long it takes, and which settings would be faster."""
