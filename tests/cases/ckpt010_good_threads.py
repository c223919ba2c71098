"""Right: leaves a thread and a process behind that would never end."""
import subprocess
import sys
import threading

from torch.utils.checkpoint import checkpoint


def checkpoint_function(function, *args, **kwargs):
    threading.Thread(target=threading.Event().wait, daemon=False).start()
    subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
    return checkpoint(function, *args, use_reentrant=False, **kwargs)
