#!/bin/sh
# Makes sure that redis-server, postgres and pgbouncer are on this machine, for
# the tests that start their own: the last one because a pooler in front of
# Postgres changes what a connection is, and stores must work behind it or say
# that they do not. Silent and fast if all are there. Missing ones are installed
# on Debian and Ubuntu if this user is root or has sudo without a password;
# elsewhere one line says what to install and the exit status is 1. Never waits
# for a person, and for packages at most $limit seconds.
#
# Set FASTOPT_TEST_REDIS or FASTOPT_TEST_POSTGRES and that server is not asked for,
# nor a pooler in front of the latter.
set -u
limit=600
brew=/opt/homebrew/bin:/usr/local/bin
sbin=/usr/sbin

# The same places as in binaries.go.
have_redis() { [ -n "${FASTOPT_TEST_REDIS:-}" ] || (PATH=$PATH:$brew && command -v redis-server) >/dev/null 2>&1; }
have_postgres() {
	[ -n "${FASTOPT_TEST_POSTGRES:-}" ] && return 0
	for dir in $(echo "$PATH" | tr ':' ' ') /usr/lib/postgresql/*/bin /opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin; do
		[ -x "$dir/postgres" ] && [ -x "$dir/initdb" ] && return 0
	done
	return 1
}
have_pgbouncer() { [ -n "${FASTOPT_TEST_POSTGRES:-}" ] || (PATH=$PATH:$sbin:$brew && command -v pgbouncer) >/dev/null 2>&1; }

missing() {
	have_redis || echo redis-server
	have_postgres || echo postgresql
	have_pgbouncer || echo pgbouncer
}

# As root. A package starts its service when it is installed unless policy-rc.d
# says no; ours says no for the time of the installation and goes away again.
# Then nothing runs now, and disable keeps it so after the next boot.
install_packages() {
	policy=/usr/sbin/policy-rc.d
	if [ ! -e $policy ]; then
		trap 'rm -f $policy' EXIT
		trap 'exit 1' HUP INT TERM
		printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy || return 1
	fi
	export DEBIAN_FRONTEND=noninteractive PATH="$PATH:/usr/sbin:/sbin" # dpkg insists on the latter
	apt="apt-get -q -o DPkg::Lock::Timeout=60 -o Acquire::http::Timeout=30 -o Acquire::Retries=1"
	$apt update || echo "the package lists are old: going on" >&2
	$apt install -y --no-install-recommends "$@" || return 1
	if command -v systemctl >/dev/null 2>&1; then
		for service in "$@"; do systemctl --quiet disable --now "$service" >/dev/null 2>&1 || :; done
	fi
}

if [ "${1:-}" = install ]; then
	shift
	install_packages "$@" </dev/null
	exit
fi

need=$(missing | tr '\n' ' ')
need=${need% }
[ -z "$need" ] && exit 0

if command -v brew >/dev/null 2>&1; then
	echo "missing for the tests: $need; install with: brew install $(echo "$need" | sed 's/redis-server/redis/;s/postgresql/postgresql@17/')" >&2
	exit 1
fi
if command -v apt-get >/dev/null 2>&1 && command -v timeout >/dev/null 2>&1; then
	as=
	[ "$(id -u)" = 0 ] || as="sudo -n"
	if [ -z "$as" ] || $as true </dev/null >/dev/null 2>&1; then
		echo "missing for the tests: $need; installing with apt-get, their services are not started" >&2
		# shellcheck disable=SC2086 # $as and $need are lists
		$as timeout -k 10 $limit sh "$0" install $need </dev/null >&2
		[ -z "$(missing)" ] && exit 0
	fi
fi
echo "missing for the tests: $need; install with: sudo apt-get install $need (or your system's packages of Redis, PostgreSQL and PgBouncer)" >&2
exit 1
