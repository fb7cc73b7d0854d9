"""What is looked at before weeks of training: the machine, its GPUs, and whether a recipe has room."""
