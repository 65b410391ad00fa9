#!/bin/sh
# Makes the secrets of compose.yaml: deploy/secrets.sh API_ID
#
# API_ID is the id of your application at Telegram, from my.telegram.org. What is
# there already stays as it is. The key that seals sessions is made by the
# image's own `worker key new`.
set -eu
cd "$(dirname "$0")"
umask 077

case "${1:-}" in
"" | *[!0-9]*)
	echo "secrets.sh: give the id of your application, a number from my.telegram.org" >&2
	exit 2
	;;
esac

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

# put FILE: what comes on stdin, unless FILE is there.
put() {
	if [ -e "$1" ]; then
		echo "secrets.sh: deploy/$1 is there already; left as it is" >&2
		cat >/dev/null
	else
		cat >"$1.new" && mv "$1.new" "$1"
	fi
}

# The directory is closed to others. Files that other users of the containers
# (postgres, redis, grafana) have to read are open within it.
mkdir -p secrets
random | put secrets/postgres_password
printf 'requirepass %s\n' "$(random)" | put secrets/redis.conf
random | put secrets/grafana_password
chmod 644 secrets/postgres_password secrets/redis.conf secrets/grafana_password
put secrets/worker.yaml <<EOF
database: "postgres://switchboard:$(cat secrets/postgres_password)@postgres:5432/switchboard?sslmode=disable"
redis: "redis://:$(sed -n 's/^requirepass //p' secrets/redis.conf)@redis:6379/0"
telegram.api-id: $1
EOF

# Workers run as the owner of the secrets, but never as root.
uid=$(id -u) gid=$(id -g)
if [ "$uid" -eq 0 ]; then
	uid=65532 gid=65532
fi
put .env <<EOF
SWITCHBOARD_UID=$uid
SWITCHBOARD_GID=$gid
SWITCHBOARD_VERSION=$(git describe --tags --always --dirty 2>/dev/null || true)
EOF

if [ ! -e secrets/key.json ]; then
	docker build --quiet --file Dockerfile --tag switchboard:local ..
	mkdir -p secrets/new
	[ "$(id -u)" -ne 0 ] || chown "$uid:$gid" secrets/new
	docker run --rm --network none --user "$uid:$gid" --volume "$PWD/secrets/new:/new" switchboard:local key new /new/key.json
	mv secrets/new/key.json secrets/key.json
	rmdir secrets/new
	echo "secrets.sh: keep a copy of deploy/secrets/key.json elsewhere: without it no stored session can be opened" >&2
fi
[ "$(id -u)" -ne 0 ] || chown "$uid:$gid" secrets/worker.yaml secrets/key.json
