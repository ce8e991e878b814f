#!/bin/sh
# Asks the server of `stage` what its OpenAPI document allows and what it forbids, as nobody and in each role, and fails
# on any failure of the server, any answer that breaks the document and any that it does not list.
# EXAMPLES=… requests for each operation and phase. The first run fetches schemathesis from PyPI, pinned.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/wavemark/security
venv=$cache/venv
if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
    rm -rf "$venv"
    mkdir -p "$cache"
    python3 -m venv "$venv"
    "$venv/bin/pip" --quiet --disable-pip-version-check install --requirement "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/requirements.txt"
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONPATH="$here" SCHEMATHESIS_HOOKS=hooks PYTHONDONTWRITEBYTECODE=1
failed=
for role in ${ROLES:-nobody viewer operator boss}; do
    printf '\n== as %s\n' "$role"
    # Logging out would end the rest, and wrong logins are held after a few.
    (cd "$work" && STAGE_ROLE=$role STAGE_COUNTS=$work/$role "$venv/bin/st" --config-file "$here/schemathesis.toml" run \
        "$STAGE_URL/api/openapi.json" --phases "${PHASES:-examples,coverage,fuzzing,stateful}" \
        --exclude-path /api/v1/auth/logout --max-examples "${EXAMPLES:-15}" --workers 2 \
        --continue-on-failure --generation-database none --output-truncate false --no-color) || failed="$failed $role"
    printf 'answers as %s: %s\n' "$role" "$(cat "$work/$role")"
    if [ "$role" != nobody ] && ! grep -q '"200"' "$work/$role"; then
        failed="$failed $role(never-let-in)"
    fi
done
if [ -n "$failed" ]; then
    echo "failed:$failed" >&2
    exit 1
fi
