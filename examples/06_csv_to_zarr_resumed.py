"""Convert a table from text to Zarr on the command line, kill that on the way, and let it go on.

Run it with a number of rows to see it at another size.
"""

import glob
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np

import chunkarr as ca

ROWS = int(sys.argv[1]) if len(sys.argv) > 1 else 60_000
CHUNKARR = [sys.executable, "-c", "from chunkarr.cli import main; main()"]  # or just `chunkarr`, where it is installed


def make_table(path):
    """Write a table with a header, and return its values."""
    values = np.random.default_rng(6).normal(size=(ROWS, 4)).round(6)
    with open(path, "w", encoding="utf-8") as file:
        file.write("time,x,y,z\n")
        file.writelines(f"{a!r},{b!r},{c!r},{d!r}\n" for a, b, c, d in values.tolist())
    return values


folder = tempfile.mkdtemp()
values = make_table(folder + "/table.csv")
command = [*CHUNKARR, "convert", folder + "/table.csv", folder + "/table.zarr"]
command += ["--layout", "matrix", "--chunks", "500,4", "--memory", "32MiB"]

process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
while process.poll() is None and len(glob.glob(folder + "/.table.zarr*/c/*")) < 5:  # until a few chunks are there
    time.sleep(0.001)
process.send_signal(signal.SIGKILL)  # as a power cut would, or someone who needs the memory
process.communicate()
if process.returncode:
    assert not glob.glob(folder + "/table.zarr"), "an array appears when it is whole"
    print(f"killed by signal {-process.returncode}; nothing has its name yet")

done = subprocess.run([*command, "--resume"], stdout=subprocess.PIPE, text=True, check=True)
print(done.stdout.strip())

table = ca.open(folder + "/table.zarr")
assert table.shape == (ROWS, 4)
assert np.array_equal(table[:100], np.loadtxt(folder + "/table.csv", delimiter=",", skiprows=1, max_rows=100))
assert np.array_equal(table, values)
assert not glob.glob(folder + "/.table*"), "nothing is left over"
