# The function of `faas certify`: it answers what its caller can foresee.
case "$Http_Path" in
/text/*) printf '%s' "$Http_Path" ;;
/slow) sleep 0.3 && cat ;;
/lines) for line in 1 2 3 4 5; do echo "$line" && sleep 0.02; done ;;
*) cat ;;
esac
