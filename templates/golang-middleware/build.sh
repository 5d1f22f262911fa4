#!/bin/sh
# Tests the function, then builds it with the server around it.
set -eu

if [ "${TEST_ENABLED:-true}" = true ]; then
  (cd function && go test ./...)
fi

# The server's module has no dependencies, so the function's are the only ones; with a vendor
# folder the build runs in the function's own module, where Go looks for it.
if [ -d function/vendor ]; then
  mkdir -p function/flint-server
  sed 's#"handler/function"#function "handler/function"#' main.go > function/flint-server/main.go
  (cd function && go build -mod=vendor -trimpath -ldflags "-s -w" -o /out/handler ./flint-server)
else
  [ -s function/go.sum ] && cp function/go.sum go.sum
  sed -n '/^require/,/^)/p' function/go.mod >> go.mod
  go build -mod=mod -trimpath -ldflags "-s -w" -o /out/handler .
fi

if [ -d function/static ]; then cp -r function/static /out/static; fi
