"""From a diagnosis to what a maintainer is sent: a reproduction, without what is private, in one file to attach."""
