"""Threads that wait for each other give way sooner: beside other programs a waiting thread must not keep a core.

torch's threads (GNU OpenMP) wait for the slowest of them in a loop of some milliseconds. Where another program
holds one of the cores, most of the time goes there: beside two trainings on two cores two epochs of the first recipe
took 53 s, with this 32 s, and on a quiet machine 14 s both ways. No number changes.
"""

import os

SPINS = "GOMP_SPINCOUNT"
SHORT = "30000"  # rounds, a tenth of what it is without; then the thread sleeps until it is woken
CHOSEN = (SPINS, "OMP_WAIT_POLICY")


def give_way() -> None:
    """Let threads wait shortly; before torch is imported, and only where the user chose nothing."""
    if not os.environ.keys() & set(CHOSEN):
        os.environ[SPINS] = SHORT
