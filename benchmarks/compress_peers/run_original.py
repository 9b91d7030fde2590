"""The network as it is, exported the way the peers' networks are."""

from __future__ import annotations

import runner

if __name__ == "__main__":
    runner.main(lambda network, job: (network, {}), variants=["as it is"], packages=[])
