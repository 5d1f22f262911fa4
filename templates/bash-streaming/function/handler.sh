#!/usr/bin/env bash
set -euo pipefail

printf 'You said: '
cat
