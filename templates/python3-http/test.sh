# test.sh [command]: runs the tests of the function, at build time. Without a command: tox when the function has a tox.ini,
# else what unittest finds in *_test.py and test_*.py.
set -eu

run_modules() {
  modules=
  for file in function/*_test.py function/test_*.py; do
    [ ! -e "$file" ] || modules="$modules $(echo "${file%.py}" | tr / .)"
  done
  [ -n "$modules" ] || return 0
  python -m unittest $modules || none_found $?
}

# Since Python 3.12 it is status 5 that says so: tests of another kind, for a command that was not named.
none_found() {
  [ "$1" = 5 ] || return "$1"
  echo "no unittest tests found: name the build arg TEST_COMMAND to run them with another tool" >&2
}

if [ -n "${1:-}" ]; then
  cd function && exec sh -c "$1"
elif [ -e function/tox.ini ]; then
  python -m venv /tmp/tox && /tmp/tox/bin/pip install --quiet tox
  cd function && exec env -u PYTHONPATH /tmp/tox/bin/tox
else
  run_modules
fi
