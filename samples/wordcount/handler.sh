#!/usr/bin/env bash
# How often each word of the body is in it, the most frequent first. Words of any script count.
set -euo pipefail

words() { grep -aoE '[[:alnum:]]+' || [ $? = 1 ]; } # 1: there is none

words | sed 's/.*/\L&/' | sort | uniq -c | sort -k1,1nr -k2 |
  while read -r count word; do printf '%s %s\n' "$count" "$word"; done
