"""From images to affinities: the network, its training targets, its training and its use on a volume."""
