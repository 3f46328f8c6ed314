# In a network namespace of its own: two guests with the same ports, and a third that asks them. $1: the root, $2: where
# the scripts are, $3: the beginning of the guests' names.
ip link set lo up
ip link add card type bridge
for n in 2 3 4 9; do ip address add 10.99.0.$n/24 dev card; ip address add fd99::$n/64 dev card nodad; done
ip link set card up
# Always in a process of its own, which is the one that is killed in the end.
guest() { # number, program, arguments
    n=$1; shift
    exec hostel run --name $name-$n --volatile --set kind=shared --set address=10.99.0.$n/24,fd99::$n/64 "dir:$root" -- perl -e "$@" 2>&1
}
root=$1 name=$3
server=$(cat "$2/server.pl") client=$(cat "$2/client.pl")
out=$(mktemp -d)
trap 'kill $servers; wait; rm -r $out' EXIT
for n in 2 3; do guest $n "$server" 10.99.0.9 fd99::9 </dev/null >$out/$n & servers="$servers $!"; done
for try in $(seq 300); do grep -q ready $out/2 && grep -q ready $out/3 && break; sleep 0.1; done
sed "s/^/server2 /" $out/2; sed "s/^/server3 /" $out/3
asks='tcp 10.99.0.2 80
tcp 10.99.0.3 80
tcp fd99::2 81
tcp fd99::3 81
udp 10.99.0.2 83
udp 10.99.0.3 83
tcp 127.0.0.1 82
tcp ::1 82'
echo "$asks" | guest 4 "$client" | sed 's/^/client /'
echo "$asks" | perl -e "$client" | sed 's/^/host /'
# Its own loopback, while others have the same port on theirs.
hostel run --name $name-4 --volatile --set kind=shared --set address=10.99.0.4/24 "dir:$root" -- sh -c \
    'perl -e "$1" 10.99.0.9 fd99::9 >/dev/null & sleep 1; printf "tcp 127.0.0.1 82\ntcp 127.1.2.3 82\n" | perl -e "$2"; kill $!' \
    sh "$server" "$client" </dev/null 2>&1 | sed 's/^/own /'
