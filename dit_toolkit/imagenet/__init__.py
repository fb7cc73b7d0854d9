"""ImageNet (ILSVRC 2012) from its three official archives."""
