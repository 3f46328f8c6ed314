# In a network namespace of its own: what a guest at a cable sends from addresses that aren't its own. $1: the root, $2: where
# the scripts are, $3: the guest's name.
ip link set lo up
ip link add bridge type bridge
ip address add 10.99.1.1/24 dev bridge; ip address add fd99:1::1/64 dev bridge nodad
ip link set bridge up
out=$(mktemp)
perl -e "$(cat "$2/listener.pl")" >$out & listener=$!
trap 'kill $listener; rm $out' EXIT
guest() {
    hostel run --name $name --volatile --set kind=veth --set bridge=bridge --set address=10.99.1.2/24,fd99:1::2/64 $more \
        "dir:$root" -- sh -c "$1" sh "$(cat "$2/sender.pl")" 2>&1
}
root=$1 name=$3
send='exec perl -e "$1" 10.99.1.1 10.99.1.2 fd99:1::2 10.99.1.77 fd99:1::77'
guest "$send" "$2"
echo -- own card; sort $out; : >$out; kill $listener; perl -e "$(cat "$2/listener.pl")" >$out & listener=$!
guest "ip link set eth0 address 02:00:00:00:99:99; $send" "$2"
echo -- another card; sort $out; : >$out; kill $listener; perl -e "$(cat "$2/listener.pl")" >$out & listener=$!
more="--set routed=10.99.1.64/26,fd99:1::70/124"
guest "$send" "$2"
echo -- routed; sort $out
