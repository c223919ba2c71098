"""ckptdoctor: whether gradient checkpointing works in a training environment, and if not, whose fault it is."""

__version__ = "0.1.0"
