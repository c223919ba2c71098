"""From a diagnosis to what a maintainer is sent: an explanation, and a bundle to attach."""
