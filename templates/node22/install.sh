# install.sh: installs the packages of the function, on a machine without Docker.
set -eu
cd "$(dirname "$0")/function"

# npm's own cache serves all functions; where it cannot be written, that of this function's builds does.
cache="${npm_config_cache:-${HOME:-}/.npm}"
if ! { mkdir -p "$cache" 2>/dev/null && [ -w "$cache" ]; }; then export npm_config_cache="$BUILD_CACHE/npm"; fi
export npm_config_audit=false npm_config_fund=false npm_config_update_notifier=false

if [ -e package-lock.json ]; then exec npm ci --omit=dev; fi
exec npm install --omit=dev --no-package-lock
