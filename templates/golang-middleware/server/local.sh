# local.sh: builds ./handler beside the folder of this file, on a machine without Docker.
set -eu
cd "$(dirname "$0")/.."

# Go's own caches serve all functions; where they cannot be written, those of this function's builds do.
writable() { mkdir -p "$1" 2>/dev/null && [ -w "$1" ]; }
writable "$(go env GOCACHE)" || export GOCACHE="$BUILD_CACHE/go-build"
writable "$(go env GOMODCACHE)" || export GOMODCACHE="$BUILD_CACHE/go-mod"
export CGO_ENABLED="${CGO_ENABLED:-0}" GOFLAGS="-trimpath -buildvcs=false ${GOFLAGS:-}"

rm -rf function/_server
cp -r server function/_server
(cd function && sh _server/build.sh ../handler)
mkdir -p static
if [ -d function/static ]; then cp -r function/static/. static; fi
