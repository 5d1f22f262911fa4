# build.sh <binary>: builds the server together with the function, inside the function's own module. So go.mod, go.sum,
# vendor/, internal packages and replacements of the function are what they are anywhere else.
set -eu

if [ "${GO111MODULE:-on}" = off ]; then
  module=handler/function
else
  [ -e go.mod ] || go mod init handler/function
  module=$(go list -m)
fi
# The first line is the module, unless the function has a workspace.
module=$(echo "$module" | head -n 1)

[ "$module" = handler/function ] || sed -i "s|\"handler/function\"|\"$module\"|" _server/main.go
go build -ldflags '-s -w' -o "$1" ./_server
