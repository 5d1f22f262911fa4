#!/bin/sh
# Runs the handler in its own folder, with bash where the image has it.
cd function || exit 1
if command -v bash >/dev/null; then exec bash ./handler.sh; fi
exec sh ./handler.sh
