"""Installs what the server and the function need into the folder "python", on a machine without Docker."""

import compileall
import importlib.util
import os
import py_compile
import shutil
import subprocess
import sys

PACKAGES = "python"
# Both lists are resolved together, so the function may ask for another release of what the server uses.
LISTS = ["requirements.txt", "function/requirements.txt"]
NO_PIP = "pip is missing: install the Debian package python3-pip, or run python3 -m ensurepip"


def main():
    if importlib.util.find_spec("pip") is None:
        sys.exit(NO_PIP)
    shutil.rmtree(PACKAGES, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--target", PACKAGES, "--no-compile", "--disable-pip-version-check"]
    for name in filter(os.path.exists, LISTS):
        command += ["-r", name]
    # Settings of the machine that do not go together with a folder of one's own.
    settings = {"PIP_ROOT_USER_ACTION": "ignore", "PIP_REQUIRE_VIRTUALENV": "0", "PIP_USER": "0"}
    if subprocess.call(command, env={**os.environ, **settings}) != 0:
        sys.exit("the packages could not be installed")
    for folder in [PACKAGES, "flint_runtime"]:
        # Never compared with the sources: the times of these are not kept. Some packages have files that are not meant to compile.
        compileall.compile_dir(folder, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)


if __name__ == "__main__":
    main()
