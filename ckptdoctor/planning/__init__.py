"""What is asked, and which probes that comes to."""
