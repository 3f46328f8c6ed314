# In a network namespace of its own: senders at a plain veth, at a guest's, on the host's stack, and in a guest that shares
# that; each asked in turn. A line a measurement: its name, bytes in a second, and in a second of processor time. $1: folder of
# `stream`, $2: a root, $3: the beginning of the guests' names, $4: rounds, $5: megabytes of each.
ip link set lo up
folder=$1 root=$2 name=$3
out=$(mktemp -d)
trap 'kill $servers; wait; rm -r $out' EXIT
unshare --net sleep 100000 & other=$!
servers=$other
for try in $(seq 100); do test "$(readlink /proc/$other/ns/net)" != "$(readlink /proc/self/ns/net)" && break; sleep 0.05; done
ip link add plain type veth peer name inside netns $other
ip address add 10.77.1.1/24 dev plain; ip link set plain up
nsenter -t $other -n sh -c 'ip address add 10.77.1.2/24 dev inside; ip link set inside up'
ip link add card type bridge; ip link set card up
for n in 2 3; do ip address add 10.77.3.$n/24 dev card; done
# In sessions of their own, as what runs in a guest: the kernel shares processors out by session.
setsid nsenter -t $other -n $folder/stream serve 5001 >$out/plain & servers="$servers $!"
# Bound as the guest's is: to one address.
setsid $folder/stream serve 5003 >$out/host & servers="$servers $!"
guest() { # which, its settings
    exec hostel run --name $name-$1 --volatile --set "bind=$folder /probe ro" $2 "dir:$root" -- /probe/stream serve $3 </dev/null
}
guest own "--set kind=veth --set address=10.77.2.2/24 --set host-address=10.77.2.1/24" 5002 >$out/own & servers="$servers $!"
guest shared "--set kind=shared --set address=10.77.3.2/24" 5004 >$out/shared & servers="$servers $!"
for which in plain host own shared; do
    for try in $(seq 300); do grep -q ready $out/$which && break; sleep 0.1; done
done
rounds=$4 much=$5
one() { echo "$1 $($folder/stream receive $2 $3 $much)" || exit 1; }
plain="plain 10.77.1.2 5001" own="own 10.77.2.2 5002" host="host 10.77.3.3 5003" shared="shared 10.77.3.2 5004"
# Who follows whom must not count: each is the first of its pair every other time.
for round in $(seq $((rounds / 2))); do
    one $plain; one $own; one $host; one $shared
    one $own; one $plain; one $shared; one $host
done
