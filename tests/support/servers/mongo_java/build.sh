#!/usr/bin/env bash
# Builds the runnable jar of mongo-java-server outside the work tree, once, and prints its path.
#
# The jar is named after a hash of pom.xml and the sources: a change makes a new one, and a jar that is there needs
# neither Maven nor a network. Exit 69 where java or Maven is missing and there is no jar.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/payment-tests"
hash="$(cd "$here" && find pom.xml src -type f | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -c1-16)"
jar="$cache/mongo-java-server-$hash.jar"

if [[ ! -f "$jar" ]]; then
    command -v java > /dev/null && command -v mvn > /dev/null || { echo "needs java and mvn" >&2; exit 69; }
    mkdir -p "$cache"
    build="$(mktemp -d "$cache/build.XXXXXX")"
    trap 'rm -rf "$build"' EXIT
    cp -r "$here/pom.xml" "$here/src" "$build/"
    # What was downloaded before is used without asking the network; only the first build on a machine needs it.
    mvn -q -B -o -f "$build/pom.xml" package > "$build/offline.log" 2>&1 ||
        mvn -q -B -f "$build/pom.xml" package >&2
    # Two builders may race: each moves its own whole file into place, and either is right.
    mv "$build/target/mongo-java-server-runner.jar" "$jar.$$"
    mv -f "$jar.$$" "$jar"
fi
echo "$jar"
