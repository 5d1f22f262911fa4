#!/usr/bin/env bash
# How often each word of the body is in it, the most frequent first.
set -euo pipefail

tr '[:upper:]' '[:lower:]' | tr -cs '[:alnum:]' '\n' | sed '/^$/d' | sort | uniq -c | sort -k1,1nr -k2 |
  while read -r count word; do printf '%s %s\n' "$count" "$word"; done
