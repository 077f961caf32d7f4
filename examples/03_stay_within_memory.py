"""Set the budget, ask what work would take, and see that too much is refused before it starts."""

import os
import tempfile

import numpy as np

import chunkarr as ca

path = os.path.join(tempfile.mkdtemp(), "wide.npy")
np.save(path, np.arange(4_000_000.0).reshape(2000, 2000))
wide = ca.open(path)

with ca.config.set(memory="16MiB"):  # half of what the array takes
    plan = wide.mean(axis=1).plan()
    assert plan.memory <= 16 * 2**20
    assert plan.bytes_read >= wide.nbytes
    assert np.array_equal(wide.mean(axis=1).compute()[:2], [999.5, 2999.5])
    try:
        wide.compute()
    except ca.errors.MemoryBudgetError as error:
        print(f"refused: {error}")
    else:
        raise AssertionError("32 MB do not fit 16 MiB")
print(plan)
