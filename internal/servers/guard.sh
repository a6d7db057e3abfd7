# The guard of one server's folder ($1). It waits until its standard input ends,
# because Stop closed it or because the process that started the server is gone,
# however that went. Then it ends what still runs there and removes the folder.
# A server's processes are found by their working directory, $1/data: that holds
# also for children of a postgres that died, and for stopped ones, which nothing
# but SIGKILL would end.
trap '' HUP INT TERM
while read -r _; do :; done

pids() {
	if [ -d /proc/self/cwd ]; then
		ls -l /proc/[0-9]*/cwd 2>/dev/null | grep -F -e "/cwd -> $1/data" | sed 's|.*/proc/\([0-9]*\)/cwd.*|\1|'
	else
		main=$(ps -A -o pid= -o command= | awk -v data="$1/data" -v self=$$ 'index($0, data) && !/awk/ && $1 != self {print $1}')
		[ -z "$main" ] || ps -A -o pid= -o ppid= | awk -v main=" $(echo $main) " 'index(main, " " $1 " ") || index(main, " " $2 " ") {print $1}'
	fi
}
# Twice at least: a process may fork between our look and its end.
tries=0
while found=$(pids "$1") && [ -n "$found" ] && [ $tries -lt 100 ]; do
	kill -KILL $found 2>/dev/null
	tries=$((tries + 1))
	sleep 0.02
done

# A postgres that was killed leaves its shared memory segment, named in line 7.
segment=$(sed -n '7s/.* //p' "$1/data/postmaster.pid" 2>/dev/null)
[ -z "$segment" ] || ipcrm -m "$segment" 2>/dev/null

rm -rf "$1"
