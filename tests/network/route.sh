# In a network namespace of its own: three guests with subnets of their own at one bridge, of which one routes between the
# others, and forbids one way. $1: the root, $2: where the scripts are, $3: the beginning of the guests' names.
ip link set lo up
ip link add bridge type bridge
ip link set bridge up
root=$1 name=$3
out=$(mktemp -d)
trap 'kill $guests; wait; rm -r $out' EXIT
# Always in a process of its own, which is the one that is killed in the end.
guest() { # which, its settings, a command
    which=$1 settings=$2; shift 2
    exec hostel run --name $name-$which --volatile --set kind=veth --set bridge=bridge $settings "dir:$root" -- "$@" </dev/null 2>&1
}
# What the third subnet sends to the second is refused by the router.
guest r "--set address=10.1.0.1/24,10.2.0.1/24,10.3.0.1/24,fd01::1/64,fd02::1/64,fd03::1/64
    --set routed=10.1.0.0/24,10.2.0.0/24,10.3.0.0/24,fd01::/64,fd02::/64,fd03::/64
    --set sysctl=net.ipv4.ip_forward=1,net.ipv6.conf.all.forwarding=1" sh -c '
    ip rule add from 10.3.0.0/24 to 10.2.0.0/24 prohibit; ip -6 rule add from fd03::/64 to fd02::/64 prohibit
    echo ready; exec sleep 1000' >$out/r & guests=$!
guest b "--set address=10.2.0.2/24,fd02::2/64 --set gateway=10.2.0.1,fd02::1" \
    perl -e "$(cat "$2/server.pl")" 10.9.9.9 fd09::9 >$out/b & guests="$guests $!"
for try in $(seq 300); do grep -q ready $out/r && grep -q ready $out/b && break; sleep 0.1; done
asks='printf "tcp 10.2.0.2 80\ntcp fd02::2 81\n" | perl -e "$1"'
guest a "--set address=10.1.0.2/24,fd01::2/64 --set gateway=10.1.0.1,fd01::1" sh -c "$asks" sh "$(cat "$2/client.pl")" | sed 's/^/a /'
guest c "--set address=10.3.0.2/24,fd03::2/64 --set gateway=10.3.0.1,fd03::1" sh -c "$asks" sh "$(cat "$2/client.pl")" | sed 's/^/c /'
